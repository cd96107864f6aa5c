//! Where a schema file stands, as a URI that references are resolved against, and back. No file is touched.
//!
//! References between files are resolved as URIs (RFC 3986). An absolute path becomes `file:///dir/name`. A relative one
//! becomes `file://here/~/~/.../dir/name`: each `~` is a directory above the one the path is relative to, so that `..` has
//! somewhere to go.

use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Directories a relative path may climb; a reference that climbs further ends at a file that is not there.
const CLIMBS_MAX: usize = 16;
const ABSOLUTE: &str = "file:///";
const RELATIVE: &str = "file://here/";
const UP: &str = "~";

/// What a path segment of a URI cannot hold as it is (RFC 3986, 3.3), and `~`, which is ours.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'~');

/// The URI of the file at `path`.
pub(super) fn uri_of(path: &Path) -> String {
    let mut climbs = 0;
    let mut names: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(utf8_percent_encode(&name.to_string_lossy(), ENCODED).to_string()),
            Component::ParentDir if names.pop().is_none() => climbs += 1,
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let names = names.join("/");
    match path.is_absolute() {
        true => format!("{ABSOLUTE}{names}"),
        false => format!("{RELATIVE}{}{names}", format!("{UP}/").repeat(CLIMBS_MAX.saturating_sub(climbs))),
    }
}

/// The path of the file a URI of [`uri_of`]'s kind names; `None` for any other URI.
pub(super) fn path_of(uri: &str) -> Option<PathBuf> {
    let (mut path, names) = match (uri.strip_prefix(RELATIVE), uri.strip_prefix(ABSOLUTE)) {
        (Some(names), _) => (PathBuf::new(), names),
        (_, Some(names)) => (PathBuf::from("/"), names),
        _ => return None,
    };
    let mut names: Vec<_> = names.split('/').collect();
    if uri.starts_with(RELATIVE) {
        let below = names.iter().take_while(|name| **name == UP).count();
        names.drain(..below);
        path.extend(std::iter::repeat_n("..", CLIMBS_MAX - below.min(CLIMBS_MAX)));
    }
    for name in names {
        path.push(percent_decode_str(name).decode_utf8().ok()?.as_ref());
    }
    Some(path)
}

/// The path of the file `target` names, when `id` is the URI that the file at `path` gives itself: both below one server,
/// `target` is looked for at the same place relative to `path` as it has relative to `id`.
pub(super) fn beside(target: &str, id: &str, path: &Path) -> Option<PathBuf> {
    let (target_server, target_names) = split(target)?;
    let (id_server, id_names) = split(id)?;
    if target_server != id_server {
        return None;
    }
    let target_names: Vec<_> = target_names.split('/').collect();
    let mut id_names: Vec<_> = id_names.split('/').collect();
    id_names.pop();
    let shared = id_names.iter().zip(&target_names).take_while(|(ours, theirs)| ours == theirs).count();
    let mut found = path.parent().unwrap_or(Path::new("")).to_owned();
    for _ in shared..id_names.len() {
        found = match found.file_name() {
            Some(_) => found.parent().unwrap_or(Path::new("")).to_owned(),
            None => found.join(".."),
        };
    }
    for name in &target_names[shared..] {
        found.push(percent_decode_str(name).decode_utf8().ok()?.as_ref());
    }
    Some(found)
}

/// `https://example.com` and `schemas/order.json` of `https://example.com/schemas/order.json`.
fn split(uri: &str) -> Option<(&str, &str)> {
    let server = uri.find("://")? + 3;
    let path = server + uri[server..].find('/')?;
    Some((&uri[..path], &uri[path + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_uri_lead_to_each_other() {
        for path in ["/etc/schemas/a b.json", "schemas/größe.json", "../shared/x.json", "x.json", "a/~/50%.json"] {
            assert_eq!(path_of(&uri_of(Path::new(path))), Some(PathBuf::from(path)), "{path}");
        }
        assert_eq!(uri_of(Path::new("/a/./b/../c.json")), "file:///a/c.json");
        assert_eq!(path_of("https://example.com/a.json"), None);
    }

    #[test]
    fn a_file_named_by_id_is_looked_for_beside_the_one_that_names_it() {
        let beside =
            |target| beside(target, "https://example.com/schemas/order/v1.json", Path::new("dir/order/v1.json"));
        assert_eq!(beside("https://example.com/schemas/order/line.json"), Some("dir/order/line.json".into()));
        assert_eq!(beside("https://example.com/schemas/shared/money.json"), Some("dir/shared/money.json".into()));
        assert_eq!(beside("https://elsewhere.example/schemas/order/line.json"), None);
        assert_eq!(beside("urn:uuid:4711"), None);
    }
}
