//! Why a body is not JSON (RFC 8259), with the byte offset. The first offence in document order counts. Slow and exact:
//! for bodies the fast parser has refused. Never recurses, so no nesting is too deep for it.

use std::ops::Range;

use crate::rejection::{Code, Issue};
use crate::value;

/// Magic bytes of what is sent by mistake, and how to call it.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\xEF\xBB\xBF", "a byte order mark"),
    (b"\xFF\xFE", "UTF-16 text"),
    (b"\xFE\xFF", "UTF-16 text"),
    (b"\x1F\x8B", "gzip data"),
    (b"\x28\xB5\x2F\xFD", "zstd data"),
    (b"\x00", "a zero byte"),
    (b"<", "markup"),
    (b"Obj\x01", "an Avro file"),
    (b"PAR1", "a Parquet file"),
];

/// The issue of a `body` that is not exactly one JSON document at most `depth_max` levels deep. A number out of range only
/// counts when all else is well.
#[cold]
pub(super) fn issue(body: &[u8], depth_max: usize) -> Issue {
    let mut scan = Scan { body, at: 0, depth_max, open: Vec::new(), out_of_range: None };
    match scan.document() {
        Err(fault) => fault.into_issue(Default::default()),
        Ok(()) => match scan.out_of_range {
            Some((fault, paths)) => fault.into_issue(paths),
            // A property test holds that both parsers agree. Should they not: refused is refused.
            None => Issue::whole(Code::JsonSyntax),
        },
    }
}

struct Fault {
    code: Code,
    at: usize,
    expected: String,
    actual: &'static str,
}

impl Fault {
    fn into_issue(self, (path, instance_path): (String, String)) -> Issue {
        let Fault { code, at, expected, actual } = self;
        Issue { code, path, instance_path, expected, actual: actual.to_owned(), offset: Some(at as u64) }
    }
}

/// An object or array not yet closed.
struct Open {
    is_object: bool,
    /// Of the element being read.
    index: usize,
    /// Of the member being read, with its quotes.
    name: Range<usize>,
}

struct Scan<'b> {
    body: &'b [u8],
    at: usize,
    depth_max: usize,
    open: Vec<Open>,
    /// The first number beyond 64 bits, and the pointers to it.
    out_of_range: Option<(Fault, (String, String))>,
}

/// What may come next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    /// A value, or the end of an array just opened.
    ValueOrEnd,
    Name,
    /// A name, or the end of an object just opened.
    NameOrEnd,
    /// A comma, or the end of the container.
    More,
}

impl Scan<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(self.fault_at(
                0,
                Code::FrameEmpty,
                "a document",
                if self.at > 0 { "white space" } else { "nothing" },
            ));
        }
        let mut next = self.value()?;
        while !self.open.is_empty() {
            self.skip_space();
            next = self.step(next)?;
        }
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected_as(Code::JsonTrailing, "the end of the body")),
        }
    }

    fn step(&mut self, next: Next) -> Result<Next, Fault> {
        match (next, self.peek()) {
            (Next::ValueOrEnd | Next::More, Some(b']')) if !self.in_object() => self.close(),
            (Next::NameOrEnd | Next::More, Some(b'}')) if self.in_object() => self.close(),
            (Next::Value | Next::ValueOrEnd, _) => self.value(),
            (Next::Name | Next::NameOrEnd, Some(b'"')) => self.name(),
            (Next::Name, _) => Err(self.unexpected("a name")),
            (Next::NameOrEnd, _) => Err(self.unexpected("a name or a closing brace")),
            (Next::More, Some(b',')) => {
                self.at += 1;
                let open = self.open.last_mut().expect("a comma stands in a container");
                open.index += 1;
                Ok(if open.is_object { Next::Name } else { Next::Value })
            }
            (Next::More, _) if self.in_object() => Err(self.unexpected("a comma or a closing brace")),
            (Next::More, _) => Err(self.unexpected("a comma or a closing bracket")),
        }
    }

    fn in_object(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_object)
    }

    fn close(&mut self) -> Result<Next, Fault> {
        self.at += 1;
        self.open.pop();
        Ok(Next::More)
    }

    /// A name and its colon.
    fn name(&mut self) -> Result<Next, Fault> {
        let start = self.at;
        self.string()?;
        let end = self.at;
        self.open.last_mut().expect("a name stands in an object").name = start..end;
        self.skip_space();
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(Next::Value)
            }
            _ => Err(self.unexpected("a colon")),
        }
    }

    /// A scalar, or the opening of a container.
    fn value(&mut self) -> Result<Next, Fault> {
        match self.peek() {
            Some(bracket @ (b'{' | b'[')) => {
                if self.open.len() >= self.depth_max {
                    let expected = format!("at most {} levels", self.depth_max);
                    return Err(self.fault_at(self.at, Code::JsonDepth, expected, "more"));
                }
                self.at += 1;
                let is_object = bracket == b'{';
                self.open.push(Open { is_object, index: 0, name: 0..0 });
                return Ok(if is_object { Next::NameOrEnd } else { Next::ValueOrEnd });
            }
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            _ => return Err(self.unexpected("a value")),
        }
        Ok(Next::More)
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        let start = self.at;
        for expected in word {
            match self.peek() {
                Some(byte) if byte == *expected => self.at += 1,
                None => return Err(self.unexpected("true, false or null")),
                Some(_) => return Err(self.fault_at(start, Code::JsonSyntax, "a value", "a word")),
            }
        }
        self.end_of_scalar()
    }

    /// A number or a word ends where white space or punctuation begins.
    fn end_of_scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"') => Ok(()),
            Some(_) => Err(self.unexpected("the end of the value")),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let mut is_integer = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.end_of_scalar()?;
        let text = std::str::from_utf8(&self.body[start..self.at]).expect("a number is ASCII");
        let fits = match is_integer {
            true => text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok(),
            false => text.parse::<f64>().is_ok_and(f64::is_finite),
        };
        if !fits && self.out_of_range.is_none() {
            let (expected, actual) = match is_integer {
                true => ("an integer of 64 bits", "a larger integer"),
                false => ("a number of 64 bits", "a larger number"),
            };
            let fault = self.fault_at(start, Code::JsonNumberRange, expected, actual);
            self.out_of_range = Some((fault, self.paths()));
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.unexpected("a closing quote")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1F) => {
                    return Err(self.fault_at(
                        self.at,
                        Code::JsonSyntax,
                        "a character",
                        "a control character in a string",
                    ));
                }
                Some(0x20..=0x7F) => self.at += 1,
                Some(_) => self.at += self.character()?,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex()? {
                    0xD800..=0xDBFF => self.low_surrogate(start),
                    0xDC00..=0xDFFF => Err(self.lone_surrogate(start)),
                    _ => Ok(()),
                }
            }
            None => Err(self.unexpected("an escape")),
            Some(_) => Err(self.fault_at(start, Code::JsonSyntax, "an escape", "an unknown escape")),
        }
    }

    fn low_surrogate(&mut self, start: usize) -> Result<(), Fault> {
        for expected in [b'\\', b'u'] {
            match self.peek() {
                Some(byte) if byte == expected => self.at += 1,
                None => return Err(self.unexpected("a low surrogate")),
                Some(_) => return Err(self.lone_surrogate(start)),
            }
        }
        match self.hex()? {
            0xDC00..=0xDFFF => Ok(()),
            _ => Err(self.lone_surrogate(start)),
        }
    }

    fn lone_surrogate(&self, start: usize) -> Fault {
        self.fault_at(start, Code::JsonSyntax, "a pair of surrogates", "half a pair of surrogates")
    }

    /// Four hexadecimal digits.
    fn hex(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().map(|byte| char::from(byte).to_digit(16)) {
                Some(Some(digit)) => code = code * 16 + digit,
                _ => return Err(self.unexpected("a hexadecimal digit")),
            }
            self.at += 1;
        }
        Ok(code)
    }

    /// The length of the character outside ASCII that begins here.
    fn character(&self) -> Result<usize, Fault> {
        match first_character(&self.body[self.at..]) {
            Ok(character) => Ok(character.len_utf8()),
            Err(NoCharacter::Cut) => Err(self.fault_at(self.body.len(), Code::JsonTruncated, "a character", END)),
            Err(NoCharacter::Invalid) => Err(self.fault_at(self.at, Code::JsonUtf8, "UTF-8", INVALID)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        self.unexpected_as(Code::JsonSyntax, expected)
    }

    /// What stands here is not `expected`: a truncation at the end of the body, bad UTF-8 where there is no character, else
    /// `code`.
    fn unexpected_as(&self, code: Code, expected: &str) -> Fault {
        let foreign = FOREIGN.iter().find(|(magic, _)| self.at == 0 && self.body.starts_with(magic));
        let (code, actual) = match (self.peek(), foreign) {
            (None, _) => (Code::JsonTruncated, END),
            (Some(_), Some((_, name))) => (code, *name),
            (Some(0x80..), None) => match first_character(&self.body[self.at..]) {
                Ok(_) => (code, "a character outside ASCII"),
                Err(_) => (Code::JsonUtf8, INVALID),
            },
            (Some(byte), None) => (code, describe(byte)),
        };
        self.fault_at(self.at, code, expected, actual)
    }

    fn fault_at(&self, at: usize, code: Code, expected: impl Into<String>, actual: &'static str) -> Fault {
        Fault { code, at, expected: expected.into(), actual }
    }

    /// The pointers to the value being read: with `[*]` for indices, and exact.
    fn paths(&self) -> (String, String) {
        let (mut normalised, mut exact) = (String::new(), String::new());
        for open in &self.open {
            if open.is_object {
                let name: String = serde_json::from_slice(&self.body[open.name.clone()]).unwrap_or_default();
                value::push_segment(&mut normalised, &name);
                value::push_segment(&mut exact, &name);
            } else {
                normalised.push_str("/[*]");
                value::push_segment(&mut exact, &open.index.to_string());
            }
        }
        (normalised, exact)
    }
}

const END: &str = "the end of the body";
const INVALID: &str = "a byte that is not UTF-8";

/// Why there is no character.
enum NoCharacter {
    /// The body ends within it.
    Cut,
    Invalid,
}

fn first_character(bytes: &[u8]) -> Result<char, NoCharacter> {
    let few = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(few) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => std::str::from_utf8(&few[..error.valid_up_to()]).unwrap_or_default(),
        Err(error) if error.error_len().is_none() => return Err(NoCharacter::Cut),
        Err(_) => return Err(NoCharacter::Invalid),
    };
    valid.chars().next().ok_or(NoCharacter::Invalid)
}

/// A kind of token by its first byte; never the byte itself.
fn describe(byte: u8) -> &'static str {
    match byte {
        b'{' => "an opening brace",
        b'}' => "a closing brace",
        b'[' => "an opening bracket",
        b']' => "a closing bracket",
        b'"' => "a quote",
        b'\'' => "a single quote",
        b',' => "a comma",
        b':' => "a colon",
        b'-' | b'0'..=b'9' => "a number",
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => "a word",
        b' ' | b'\t' | b'\n' | b'\r' => "white space",
        0..=0x1F | 0x7F => "a control character",
        _ => "another sign",
    }
}
