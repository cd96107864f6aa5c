//! JSON text (RFC 8259) to a tree: any number as it is written, also those that a pipeline's decoder refuses, since a fix may
//! mend them.

use std::collections::HashSet;

use compact_str::CompactString;

use super::tree::{DEPTH_MAX, Tree};

/// The document that `text` is; `None` if it is none, nests too deep, or names a member twice.
pub(super) fn parse(text: &[u8]) -> Option<Tree> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parser = Parser { text, at: 0 };
    let tree = parser.value(DEPTH_MAX)?;
    parser.space();
    (parser.at == text.len()).then_some(tree)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str, value: Tree) -> Option<Tree> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Tree> {
        self.space();
        match self.peek()? {
            b'n' => self.word("null", Tree::Null),
            b't' => self.word("true", Tree::Bool(true)),
            b'f' => self.word("false", Tree::Bool(false)),
            b'"' => self.string().map(Tree::Text),
            b'[' => self.array(depth.checked_sub(1)?),
            b'{' => self.object(depth.checked_sub(1)?),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Tree> {
        self.at += 1;
        let mut elements = Vec::new();
        self.space();
        if self.take(b']') {
            return Some(Tree::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Some(Tree::Array(elements));
            }
            self.take(b',').then_some(())?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Tree> {
        self.at += 1;
        let mut members = Members::default();
        self.space();
        if self.take(b'}') {
            return Some(Tree::Object(Vec::new()));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(b':').then_some(())?;
            let value = self.value(depth)?;
            members.push(name, value)?;
            self.space();
            if self.take(b'}') {
                return Some(Tree::Object(members.members));
            }
            self.take(b',').then_some(())?;
        }
    }

    fn string(&mut self) -> Option<CompactString> {
        (self.peek() == Some(b'"')).then_some(())?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        let mut plain = true;
        loop {
            match bytes.get(self.at)? {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                byte => {
                    plain &= *byte >= b' ';
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        if plain {
            return Some(self.text[start + 1..self.at - 1].into());
        }
        // Looks at escapes, surrogates and control characters.
        serde_json::from_str::<String>(self.text.get(start..self.at)?).ok().map(CompactString::from)
    }

    fn number(&mut self) -> Option<Tree> {
        let rest = &self.text[self.at..];
        let length =
            rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let text = &rest[..length];
        self.at += length;
        super::number::is_written(text).then(|| Tree::Number(text.into()))
    }
}

/// Members up to which it is cheaper to compare names than to hash them.
const COMPARED_MAX: usize = 32;

/// The members of an object so far, no name twice.
#[derive(Default)]
struct Members {
    members: Vec<(CompactString, Tree)>,
    /// Of all of them, once there are many.
    names: HashSet<CompactString>,
}

impl Members {
    /// `None`: the name is there.
    fn push(&mut self, name: CompactString, value: Tree) -> Option<()> {
        if self.members.len() < COMPARED_MAX {
            self.members.iter().all(|(there, _)| *there != name).then_some(())?;
        } else {
            if self.names.is_empty() {
                self.names.extend(self.members.iter().map(|(there, _)| there.clone()));
            }
            self.names.insert(name.clone()).then_some(())?;
        }
        self.members.push((name, value));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{JsonDecoder, Limits};

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut decoder = JsonDecoder::new(Limits { body_bytes_max: 1 << 20, depth_max: DEPTH_MAX });
        let write = |tape: &crate::value::Tape<'_>| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            out
        };
        decoder.decode(text, write).ok()
    }

    #[test]
    fn what_the_decoder_takes_is_read_the_same_and_what_is_no_json_is_not() {
        for text in [
            "null",
            " true ",
            "[]",
            "{}",
            "[1,2]",
            r#"{"a":{"b":[1.50,-0.0,1E+2,"x\u00e9\ud83d\ude00\n"]},"":null}"#,
            "",
            " ",
            "nul",
            "truee",
            "[1,]",
            "[1 2]",
            "[",
            "{",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1,"a":2}"#,
            r#"{a:1}"#,
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "- 1",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a\nb\"",
            "1 2",
            "\u{feff}1",
            "'a'",
            "NaN",
            "\"\\",
        ] {
            assert_eq!(parse(text.as_bytes()).map(|tree| tree.to_json()), decoded(text.as_bytes()), "{text:?}");
        }
        assert_eq!(parse(b"\"\xff\""), None);
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_some() && parse(nested(DEPTH_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn a_name_stands_once_among_however_many() {
        let document = |names: &[String]| {
            let members: Vec<String> = names.iter().map(|name| format!("{name:?}:1")).collect();
            format!("{{{}}}", members.join(","))
        };
        let mut names: Vec<String> = (0..3 * COMPARED_MAX).map(|number| format!("a member called {number}")).collect();
        assert!(parse(document(&names).as_bytes()).is_some());
        for (place, twice) in [(0, 1), (1, COMPARED_MAX + 1), (COMPARED_MAX + 1, 2 * COMPARED_MAX)] {
            let name = std::mem::replace(&mut names[twice], format!("a member called {place}"));
            assert!(parse(document(&names).as_bytes()).is_none(), "{place} {twice}");
            names[twice] = name;
        }
    }

    #[test]
    fn numbers_of_any_length_are_numbers() {
        for text in ["123456789012345678901234567890", "1e400", "-0", "0e99999999999999999999999"] {
            assert_eq!(parse(text.as_bytes()), Some(Tree::Number(text.into())));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_the_decoder_reads_it(text in "[\\[\\]{},:\"\\\\0-9a-c.eE+\\- tfnulr]{0,12}") {
            let (ours, theirs) = (parse(text.as_bytes()), decoded(text.as_bytes()));
            // Only the decoder has a limit for numbers.
            prop_assert!(theirs.is_none() || ours.as_ref().map(Tree::to_json) == theirs, "{:?}", text);
            prop_assert!(ours.is_none() || serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{:?}", text);
        }
    }
}
