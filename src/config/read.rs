//! TOML with its lines -> raw sections. Every value of the wrong kind and every unknown key is noted, not only the
//! first. Not serde's derive: it stops at the first error and forgets the lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checked::Secret;
use super::finding::{Notes, Place};
use super::keys::{Fallback, Key, Kind};
use super::nearest::nearest;
use super::text::{FilePath, Text, interpolate, quoted, resolve};
use super::{Surroundings, units};

/// A value with the place it is written at.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub value: T,
    pub place: Place,
}

/// A type that a key of the file can have.
pub(super) trait Raw: Sized {
    const KIND: Kind;

    /// Reads `value`, which stands at `place`; what is wrong with it is noted, and then there is no value.
    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self>;

    /// What bounds are held against: the number, milliseconds or bytes.
    fn magnitude(&self) -> Option<u64> {
        None
    }
}

/// A table of the file with known keys.
pub(super) trait Section: Raw {
    /// Each key by its name, with its place.
    fn places(&self) -> Vec<(&'static str, Place)>;
}

/// What reading needs beside the value.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// What relative paths are relative to.
    pub directory: &'a Path,
    pub surroundings: &'a Surroundings<'a>,
    pub notes: Notes<'a>,
    /// Keys that are not written and are expected, each with an example: the check knows whether they must be.
    pub absent: Vec<(Place, &'static str)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, surroundings: &'a Surroundings<'a>) -> Self {
        let directory = file.parent().unwrap_or(Path::new(""));
        Self { text, directory, surroundings, notes: Notes::new(file), absent: Vec::new() }
    }

    /// Reads the whole file; what is no TOML is noted line by line.
    pub(super) fn document<T: Raw>(&mut self) -> Option<T> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = error.span().map_or(1, |span| self.line(span.start));
            let place = Place { key: String::new(), line, written: true };
            // Only the message: the error as a whole quotes the line, which may hold a secret.
            self.notes.error(&place, format!("not TOML: {}", error.message().replace('\n', " ")), "correct the line");
        }
        if !errors.is_empty() {
            return None;
        }
        let span = table.span();
        let root = Place { key: String::new(), line: 1, written: true };
        T::read(&Spanned::new(span, DeValue::Table(table.into_inner())), &root, self)
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// The fields of a table; unknown keys are noted here.
    pub(super) fn open<'f>(
        &'f mut self,
        value: &'f Spanned<DeValue<'f>>,
        place: &Place,
        keys: &'static [Key],
    ) -> Option<Fields<'f, 'a>> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_kind(value, place, Kind::Section(keys));
            return None;
        };
        for (name, _) in table.iter() {
            if !keys.iter().any(|key| key.name == name.get_ref().as_ref()) {
                let line = self.line(name.span().start);
                self.unknown(&place.at(name.get_ref(), line), name.get_ref(), keys);
            }
        }
        Some(Fields { reader: self, place: place.clone(), keys, table })
    }

    fn unknown(&mut self, place: &Place, name: &str, keys: &'static [Key]) {
        let mend = match nearest(name, keys.iter().map(|key| key.name)) {
            Some(known) => format!("did you mean {known:?}?"),
            None => match super::raw::homes(name).as_slice() {
                [] => {
                    let known = keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
                    format!("remove it; the keys here are {known}")
                }
                homes => format!("it belongs in {}", homes.join(" or ")),
            },
        };
        // The name of a key may hold anything, a line break too.
        let place = Place { key: place.key.escape_debug().to_string(), ..place.clone() };
        self.notes.error(&place, "unknown key", mend);
    }

    pub(super) fn wrong_kind(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, kind: Kind) {
        let found = match value.get_ref() {
            DeValue::Boolean(_) => "is true or false",
            DeValue::Integer(_) => "is a number",
            DeValue::Float(_) => "is a number with a fraction",
            DeValue::String(_) => "is text",
            DeValue::Datetime(_) => "is a date",
            DeValue::Array(_) => "is a list",
            DeValue::Table(_) => "is a table",
        };
        let mend = match (value.get_ref(), kind) {
            (DeValue::Integer(number), Kind::Duration) => format!("give it its unit, such as \"{number}s\""),
            (DeValue::Integer(number), Kind::Size) => format!("give it its unit, such as \"{number}B\" or \"64MiB\""),
            (DeValue::Table(_), Kind::List(Kind::Section(_))) => format!("write [[{}]]", place.key),
            (DeValue::Array(_), Kind::Section(_)) => format!("write [{}]", place.key),
            _ => format!("write {}", kind.noun()),
        };
        let problem = match (value.get_ref(), kind) {
            (DeValue::Integer(_), Kind::Duration | Kind::Size) => format!("{found} without a unit"),
            _ => found.to_owned(),
        };
        self.notes.error(place, problem, mend);
    }

    /// The string of `value` with its variables replaced; may be empty.
    fn string(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, kind: Kind) -> Option<Text> {
        let Some(written) = value.get_ref().as_str() else {
            self.wrong_kind(value, place, kind);
            return None;
        };
        match interpolate(written, self.surroundings.variable) {
            Ok(value) => Some(Text { value, written: written.to_owned() }),
            Err(wrong) => {
                wrong.into_iter().for_each(|(problem, mend)| self.notes.error(place, problem, mend));
                None
            }
        }
    }

    /// The same, and not empty.
    fn filled(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, kind: Kind) -> Option<Text> {
        let text = self.string(value, place, kind)?;
        if text.value.is_empty() {
            self.notes.error(place, "is empty", "give it a value or remove the line");
            return None;
        }
        Some(text)
    }
}

/// The fields of one table, taken one by one.
pub(super) struct Fields<'f, 'a> {
    reader: &'f mut Reader<'a>,
    place: Place,
    keys: &'static [Key],
    table: &'f DeTable<'f>,
}

impl Fields<'_, '_> {
    /// The value of the key `name`, or its default; a missing required key is noted.
    pub(super) fn take<T: Raw>(&mut self, name: &'static str) -> Option<Given<T>> {
        let key = self.keys.iter().find(|key| key.name == name).expect("what declares the field declares the key");
        if let Some((written, value)) = self.table.iter().find(|(written, _)| written.get_ref() == name) {
            let place = self.place.at(name, self.reader.line(written.span().start));
            let value = T::read(value, &place, self.reader)?;
            self.hold_bounds(key, &value, &place)?;
            return Some(Given { value, place });
        }
        let place = self.place.missing(name);
        match key.fallback {
            Fallback::Default(text) => {
                let default = DeValue::parse(text).expect("defaults are TOML; a test reads each");
                Some(Given { value: T::read(&default, &place, self.reader)?, place })
            }
            Fallback::Unset(_) => None,
            Fallback::Expected(example) => {
                self.reader.absent.push((place, example));
                None
            }
            Fallback::Required(example) => {
                let mend = match key.kind {
                    Kind::List(Kind::Section(_)) => format!("add a section [[{name}]]"),
                    _ => format!("add {name} = {example}, or what it is here"),
                };
                self.reader.notes.error(&place, "is missing", mend);
                None
            }
        }
    }

    fn hold_bounds<T: Raw>(&mut self, key: &Key, value: &T, place: &Place) -> Option<()> {
        let (Some(bounds), Some(magnitude)) = (key.bounds, value.magnitude()) else { return Some(()) };
        let (least, greatest) = (key.kind.magnitude(bounds.least), key.kind.magnitude(bounds.greatest));
        let because = bounds.because.map(|because| format!(" ({because})")).unwrap_or_default();
        let shown = key.kind.show(magnitude);
        if magnitude < least {
            let problem = format!("{shown} is less than {}{because}", bounds.least.trim_matches('"'));
            self.reader.notes.error(place, problem, format!("set it to {} or more", bounds.least));
            return None;
        }
        if magnitude > greatest {
            let problem = format!("{shown} is more than {}{because}", bounds.greatest.trim_matches('"'));
            self.reader.notes.error(place, problem, format!("set it to {} or less", bounds.greatest));
            return None;
        }
        Some(())
    }
}

impl Raw for bool {
    const KIND: Kind = Kind::Flag;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            reader.wrong_kind(value, place, Self::KIND);
        }
        flag
    }
}

impl Raw for u64 {
    const KIND: Kind = Kind::Integer;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(integer) = value.get_ref().as_integer() else {
            reader.wrong_kind(value, place, Self::KIND);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            reader.notes.error(
                place,
                format!("{integer} is out of range"),
                "write a whole number that is not negative",
            );
        }
        number
    }

    fn magnitude(&self) -> Option<u64> {
        Some(*self)
    }
}

/// A whole number that may be negative.
impl Raw for i64 {
    const KIND: Kind = Kind::Integer;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(integer) = value.get_ref().as_integer() else {
            reader.wrong_kind(value, place, Self::KIND);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            reader.notes.error(place, format!("{integer} is out of range"), "write a smaller number");
        }
        number
    }
}

/// A number from 0 to 1, if its key's bounds say so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio(pub f64);

impl Raw for Ratio {
    const KIND: Kind = Kind::Ratio;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let written = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => {
                reader.wrong_kind(value, place, Self::KIND);
                return None;
            }
        };
        let usable = written.filter(|ratio: &f64| (0.0..=1.0).contains(ratio));
        if usable.is_none() {
            reader.notes.error(place, "is no ratio", format!("write {}", Self::KIND.noun()));
        }
        usable.map(Ratio)
    }

    fn magnitude(&self) -> Option<u64> {
        Some(super::keys::millionths(self.0))
    }
}

/// A number, negative or with a fraction or not.
impl Raw for f64 {
    const KIND: Kind = Kind::Number;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let written: Option<f64> = match value.get_ref() {
            DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64),
            _ => {
                reader.wrong_kind(value, place, Self::KIND);
                return None;
            }
        };
        let usable = written.filter(|number| number.is_finite());
        if usable.is_none() {
            reader.notes.error(
                place,
                "is no number that could be compared with",
                format!("write {}", Self::KIND.noun()),
            );
        }
        usable
    }
}

/// So many a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(pub u64);

impl Rate {
    pub(super) fn per_second(self) -> f64 {
        self.0 as f64 / 86_400.0
    }
}

impl Raw for Rate {
    const KIND: Kind = Kind::Rate;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.filled(value, place, Self::KIND)?;
        let rate = units::rate(&text.value);
        if rate.is_none() {
            reader.notes.error(place, format!("{text} is not a rate"), format!("write {}", Self::KIND.noun()));
        }
        rate.map(Rate)
    }

    fn magnitude(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Raw for Duration {
    const KIND: Kind = Kind::Duration;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.filled(value, place, Self::KIND)?;
        let duration = units::duration(&text.value);
        if duration.is_none() {
            reader.notes.error(place, format!("{text} is not a duration"), format!("write {}", Self::KIND.noun()));
        }
        duration
    }

    fn magnitude(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

impl Raw for Size {
    const KIND: Kind = Kind::Size;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.filled(value, place, Self::KIND)?;
        let size = units::size(&text.value);
        if size.is_none() {
            reader.notes.error(place, format!("{text} is not a size"), format!("write {}", Self::KIND.noun()));
        }
        size.map(Size)
    }

    fn magnitude(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Raw for Text {
    const KIND: Kind = Kind::Text;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        reader.filled(value, place, Self::KIND)
    }
}

/// Text that means something when it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnyText(pub Text);

impl Raw for AnyText {
    const KIND: Kind = Kind::Text;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        reader.string(value, place, Self::KIND).map(AnyText)
    }
}

impl Raw for FilePath {
    const KIND: Kind = Kind::Path;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let written = reader.filled(value, place, Self::KIND)?;
        Some(FilePath { path: resolve(reader.directory, &written.value), written })
    }
}

impl Raw for Secret {
    const KIND: Kind = Kind::Secret;

    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        if !value.get_ref().is_table() {
            return reader.filled(value, place, Self::KIND).map(|text| Secret::new(text.value));
        }
        let source = <super::raw::SecretFile as Raw>::read(value, place, reader)?;
        let file = source.file?;
        let content = match (reader.surroundings.read)(&file.value.path) {
            Ok(content) => content,
            Err(error) => {
                let problem = format!("the file {} cannot be read ({})", file.value.written, error.kind());
                reader.notes.error(place, problem, unreadable_mend(&file.value, reader.directory));
                return None;
            }
        };
        let secret = Secret::of_file(file.value.path, &content);
        if secret.expose().is_empty() {
            let problem = format!("the file {} is empty", file.value.written);
            reader.notes.error(place, problem, "write the secret into it");
            return None;
        }
        Some(secret)
    }
}

/// What to do about a file that cannot be read.
pub(super) fn unreadable_mend(file: &FilePath, directory: &Path) -> String {
    if Path::new(&file.written.value).is_absolute() {
        return "create it, or correct the path or its permissions".to_owned();
    }
    let directory = if directory == Path::new("") { PathBuf::from(".") } else { directory.to_owned() };
    format!("create it, or correct the path (it is relative to {}) or its permissions", directory.display())
}

impl<T: Raw> Raw for Vec<Given<T>> {
    const KIND: Kind = Kind::List(&T::KIND);

    /// All elements, or none when one is wrong. A list of sections keeps the list's path: its lines tell them apart.
    fn read(value: &Spanned<DeValue<'_>>, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            reader.wrong_kind(value, place, Self::KIND);
            return None;
        };
        let mut elements = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let line = if place.written { reader.line(element.span().start) } else { place.line };
            let key = match T::KIND {
                Kind::Section(_) => place.key.clone(),
                _ => format!("{}[{index}]", place.key),
            };
            let place = Place { key, line, written: place.written };
            if let Some(value) = T::read(element, &place, reader) {
                elements.push(Given { value, place });
            }
        }
        (elements.len() == array.len()).then_some(elements)
    }
}

/// Lets the words of the file stand for the values of a closed enum.
macro_rules! words {
    ($enum:ty: $($word:literal => $value:ident),+) => {
        impl $crate::config::read::Raw for $enum {
            const KIND: $crate::config::keys::Kind = $crate::config::keys::Kind::Word(&[$($word),+]);

            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                place: &$crate::config::finding::Place,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let word = reader.word(value, place, Self::KIND)?;
                match word.value.as_str() {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

pub(super) use words;

impl Reader<'_> {
    /// One of the words of `kind`.
    pub(super) fn word(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, kind: Kind) -> Option<Text> {
        let text = self.filled(value, place, kind)?;
        let Kind::Word(words) = kind else { return Some(text) };
        if words.contains(&text.value.as_str()) {
            return Some(text);
        }
        let mend = match nearest(&text.value, words.iter().copied()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {}", kind.noun()),
        };
        self.notes.error(place, format!("{} is not known", quoted(&text.written)), mend);
        None
    }
}
