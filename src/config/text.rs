//! Strings of the file: `${NAME}` is replaced, relative paths are resolved, and what is shown of them is what was
//! written.

use std::fmt;
use std::path::{Path, PathBuf};

/// A string with what stood in the file, which is all that may be shown of it: a variable's value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub value: String,
    pub written: String,
}

impl Text {
    /// It holds no variable: what the value is made of may be shown.
    pub(super) fn is_literal(&self) -> bool {
        self.value == self.written
    }
}

/// As written, in quotes, and cut when long.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.written))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A path with what stood in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    /// Resolved against the directory of the configuration file.
    pub path: PathBuf,
    pub written: Text,
}

/// `text` in quotes on one line, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
    }
}

/// `path` seen from `directory`, without the `.` in between.
pub(super) fn resolve(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}

/// What is wrong with a variable of a string, and the mend.
pub(super) type Wrong = (String, String);

/// Replaces each `${NAME}` by the variable's value, and `$${` by `${`. Values are not looked into again.
///
/// # Errors
/// One for each variable that is not set or cannot be read, never with a piece of the string but a variable's name.
pub(super) fn interpolate(written: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<Wrong>> {
    let mut value = String::with_capacity(written.len());
    let mut wrong = Vec::new();
    let mut rest = written;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            value.push_str(&rest[..start]);
            value.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        value.push_str(&rest[..start]);
        rest = &rest[start + 2..];
        let name_length =
            rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_length);
        match after.strip_prefix('}') {
            Some(after) if !name.is_empty() && !name.starts_with(|letter: char| letter.is_ascii_digit()) => {
                rest = after;
                match variable(name) {
                    Some(text) => value.push_str(&text),
                    None => wrong.push((
                        format!("the environment variable {name} is not set"),
                        format!("set {name}, or write \"$${{\" for a plain \"${{\""),
                    )),
                }
            }
            _ => wrong.push((
                "\"${\" is not followed by a variable's name and \"}\"".to_owned(),
                "write \"${NAME}\", or \"$${\" for a plain \"${\"".to_owned(),
            )),
        }
    }
    value.push_str(rest);
    if wrong.is_empty() { Ok(value) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "USER" => Some("ann".to_owned()),
            "ODD" => Some("${USER}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once_and_the_escape_is_kept_plain() {
        let read = |text: &str| interpolate(text, &variable).expect(text);
        assert_eq!(read("amqp://${USER}:x@h"), "amqp://ann:x@h");
        assert_eq!(read("${USER}${USER}"), "annann");
        assert_eq!(read("$${USER} costs $5 $"), "${USER} costs $5 $");
        assert_eq!(read("${ODD}"), "${USER}");
        assert_eq!(read(""), "");
    }

    #[test]
    fn every_missing_variable_is_named_and_nothing_else_of_the_string() {
        let wrong = interpolate("pass-${A}-${B}-${USER", &variable).expect_err("missing");
        assert_eq!(wrong.len(), 3);
        assert_eq!(wrong[0].0, "the environment variable A is not set");
        assert!(wrong.iter().all(|(problem, mend)| !problem.contains("pass") && !mend.contains("pass")));
        for text in ["${}", "${1A}", "${A-b}", "${A:-b}", "x${"] {
            assert_eq!(interpolate(text, &variable).expect_err(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_directory_of_the_file() {
        assert_eq!(resolve(Path::new("/etc/pq"), "./a/./b.json"), Path::new("/etc/pq/a/b.json"));
        assert_eq!(resolve(Path::new("/etc/pq"), "/a"), Path::new("/a"));
        assert_eq!(resolve(Path::new(""), "a"), Path::new("a"));
    }
}
