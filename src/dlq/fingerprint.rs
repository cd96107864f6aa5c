//! Which group an issue belongs to. Pure, and versioned: a change of the rule is a new version, never new ids for old
//! groups.
//!
//! A group is (pipeline, code, normalised path, expected, actual, place): kinds only. No text of an error and no value
//! of an event goes in, so that one cause is one group whatever the events hold.

use std::fmt;

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::rejection::Code;

/// The version of the rule below; the ids begin with it.
pub const VERSION: u32 = 1;

const CUT: &str = Code::JsonTruncated.as_str();
const BROKEN_TEXT: &str = Code::JsonUtf8.as_str();
const BROKEN_NAME: &str = Code::AmqpText.as_str();

/// Segments of a path that count; what lies deeper shares a group.
pub const PATH_SEGMENTS_MAX: usize = 16;

/// The id of a group: the rule's version, a dash, 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(CompactString);

impl GroupId {
    /// The id written as `text`, which may be of a newer version than ours; `None` when it is no id at all.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, digits) = text.split_once('-')?;
        let decimal = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let hex = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (decimal && hex).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the group that a rule of the configuration calls `title`.
    pub fn merged(pipeline: &str, title: &str) -> Self {
        Self::of(&[pipeline, "merged", title])
    }

    fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length goes first, so that no two lists of parts read alike.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let first = digest.first_chunk::<8>().expect("a SHA-256 digest is 32 bytes");
        Self(format_compact!("{VERSION}-{:016x}", u64::from_be_bytes(*first)))
    }
}

impl std::borrow::Borrow<str> for GroupId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for GroupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GroupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a group's id"))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where in a body that cannot be parsed the trouble begins, coarsely: the offset itself would make every event its
/// own group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the first byte: most often another format altogether.
    Start,
    Middle,
    /// At or behind the last byte: most often cut off.
    End,
}

impl Place {
    /// The place of byte `offset` in a body of `body_bytes` bytes.
    pub fn of(offset: u64, body_bytes: u64) -> Self {
        match offset {
            0 => Place::Start,
            _ if offset.saturating_add(1) >= body_bytes => Place::End,
            _ => Place::Middle,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Place::Start => "start",
            Place::Middle => "middle",
            Place::End => "end",
        }
    }
}

/// What of an issue makes its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    pub code: &'a str,
    /// The normalised path, at most [`PATH_SEGMENTS_MAX`] segments of it; empty for bodies that cannot be decoded.
    pub path: &'a str,
    pub expected: &'a str,
    pub actual: &'a str,
    /// Only of bodies that cannot be decoded.
    pub place: Option<Place>,
}

impl<'a> Signature<'a> {
    /// Of an issue with that code, normalised path, expectation and find, at byte `offset` of a body of `body_bytes`.
    pub fn new(
        code: &'a str,
        path: &'a str,
        expected: &'a str,
        actual: &'a str,
        offset: Option<u64>,
        body_bytes: u64,
    ) -> Self {
        // The path of a broken name is a property of AMQP.
        if !code.starts_with("decode.") || code == BROKEN_NAME {
            return Self { code, path: capped(path), expected, actual, place: None };
        }
        // Without a schema nobody knows which names in the path are the event's own, so it does not count.
        let place = offset.map(|offset| Place::of(offset, body_bytes));
        match code {
            // What was due where a body was cut, or where a character is broken, is chance.
            CUT | BROKEN_TEXT => Self { code, path: "", expected: "", actual: "", place },
            _ => Self { code, path: "", expected, actual, place },
        }
    }

    /// The group's id within `pipeline`.
    pub fn group(&self, pipeline: &str) -> GroupId {
        GroupId::of(&self.parts(pipeline))
    }

    /// The id of the part of that group whose letters have `value` for the property `by`; `None`: that have none.
    pub fn split(&self, pipeline: &str, by: &str, value: Option<&str>) -> GroupId {
        let mut parts = self.parts(pipeline).to_vec();
        parts.push(by);
        parts.extend(value);
        GroupId::of(&parts)
    }

    fn parts<'p>(&self, pipeline: &'p str) -> [&'p str; 6]
    where
        'a: 'p,
    {
        let place = self.place.map_or("", Place::as_str);
        [pipeline, self.code, self.path, self.expected, self.actual, place]
    }
}

/// The first [`PATH_SEGMENTS_MAX`] segments of a pointer.
fn capped(path: &str) -> &str {
    match path.match_indices('/').nth(PATH_SEGMENTS_MAX) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature<'a>(code: &'a str, path: &'a str, expected: &'a str, actual: &'a str) -> Signature<'a> {
        Signature::new(code, path, expected, actual, None, 0)
    }

    #[test]
    fn the_ids_of_version_1_never_change() {
        let delay = signature("validate.type", "/arrival/delay_min", "integer", "null");
        let tail = signature("validate.required", "/tailnum", "", "");
        let item = signature("validate.enum", "/legs/[*]/status", "", "");
        let syntax = Signature::new("decode.json.syntax", "", "", "", Some(0), 100);
        let ids = [delay, tail, item, syntax].map(|signature| signature.group("flights").to_string());
        assert_eq!(ids, ["1-dc573f3993ed91d0", "1-d140ff6410353417", "1-ee4fe396a4ff300e", "1-b237d9d5c4ebc882"]);
    }

    #[test]
    fn every_part_of_a_signature_counts_and_runs_into_no_other() {
        let base = Signature { code: "c", path: "/p", expected: "e", actual: "a", place: None };
        let others = [
            Signature { code: "c2", ..base },
            Signature { path: "/p2", ..base },
            Signature { expected: "ea", actual: "", ..base },
            Signature { expected: "", actual: "ea", ..base },
            Signature { place: Some(Place::Start), ..base },
            Signature { place: Some(Place::Middle), ..base },
            Signature { place: Some(Place::End), ..base },
        ];
        let mut ids: Vec<_> = others.iter().map(|signature| signature.group("p")).collect();
        ids.extend([base.group("p"), base.group("q")]);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), others.len() + 2);
    }

    #[test]
    fn where_a_body_breaks_counts_only_as_start_middle_or_end() {
        let place = |offset, bytes| Signature::new("decode.json.syntax", "", "", "", Some(offset), bytes).place;
        assert_eq!([place(0, 9), place(0, 1)], [Some(Place::Start); 2]);
        assert_eq!([place(1, 9), place(7, 9)], [Some(Place::Middle); 2]);
        assert_eq!([place(8, 9), place(9, 9), place(90, 9)], [Some(Place::End); 3]);
        assert_eq!(Signature::new("validate.type", "/a", "", "", Some(3), 9).place, None);
    }

    #[test]
    fn of_a_body_that_cannot_be_decoded_only_kinds_count() {
        let group = |code, path, expected, actual| Signature::new(code, path, expected, actual, Some(5), 9).group("p");
        let repeat = |path| group("decode.json.duplicate_key", path, "a name once", "the name again");
        assert_eq!(repeat("/by_id/secret-1"), repeat("/by_id/secret-2"));
        let cut = |due| group("decode.json.truncated", "", due, "the end of the body");
        assert_eq!(cut("a closing quote"), cut("a colon"));
        let syntax = |due| group("decode.json.syntax", "", due, "a word");
        assert_ne!(syntax("a value"), syntax("a colon"));
    }

    #[test]
    fn a_path_counts_to_its_sixteenth_segment() {
        let deep = "/a".repeat(40);
        assert_eq!(signature("c", &deep, "", "").path, "/a".repeat(16));
        assert_eq!(signature("c", &deep[..32], "", "").path, "/a".repeat(16));
    }

    #[test]
    fn an_id_is_read_back_whatever_its_version() {
        let id = signature("c", "", "", "").group("p");
        assert_eq!(GroupId::parse(id.as_str()), Some(id));
        assert!(GroupId::parse("12-00ff").is_some());
        for text in ["", "1", "1-", "-00ff", "x-00ff", "1-00FF", "1-zz", "1-00ff "] {
            assert_eq!(GroupId::parse(text), None, "{text}");
        }
    }
}
