//! What a key of the file is: its text, kind, default and bounds. [`section!`](super::raw) makes one table of them; the
//! reader, the reference and the JSON Schema all read that table.

use super::units;

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// The lines of its description, each with a leading space.
    pub doc: &'static [&'static str],
    pub kind: Kind,
    pub fallback: Fallback,
    pub bounds: Option<Bounds>,
    /// The schemes of `store.url` it is for; empty: all.
    pub only: &'static [&'static str],
}

impl Key {
    pub(super) fn doc_text(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// What a key means that is not written. The texts are TOML values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fallback {
    /// This value.
    Default(&'static str),
    /// Nothing, or what the description says; the text is an example.
    Unset(&'static str),
    /// It must be written; the text is an example.
    Required(&'static str),
    /// It must be written unless another key says otherwise, which the check knows; the text is an example.
    Expected(&'static str),
}

impl Fallback {
    pub(super) fn text(self) -> &'static str {
        match self {
            Fallback::Default(text) | Fallback::Unset(text) => text,
            Fallback::Required(text) | Fallback::Expected(text) => text,
        }
    }
}

/// The least and the greatest value, as TOML values, and why those.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub least: &'static str,
    pub greatest: &'static str,
    pub because: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Flag,
    Integer,
    /// From 0 to 1; its magnitude is in millionths.
    Ratio,
    /// A number, whole or not; without bounds.
    Number,
    Duration,
    /// So many in a span of time; its magnitude is how many a day.
    Rate,
    Size,
    Text,
    /// Text, or `{ file = "path" }`; never shown.
    Secret,
    Path,
    /// One of these words.
    Word(&'static [&'static str]),
    List(&'static Kind),
    Section(&'static [Key]),
}

impl Kind {
    /// The keys of a section.
    pub(super) const fn keys(self) -> &'static [Key] {
        match self {
            Kind::Section(keys) => keys,
            _ => &[],
        }
    }

    /// The keys of a section or of the sections of a list.
    pub(super) const fn keys_within(self) -> &'static [Key] {
        match self {
            Kind::List(element) => element.keys(),
            kind => kind.keys(),
        }
    }

    /// What the value has to be, after "must be".
    pub(super) fn noun(self) -> String {
        match self {
            Kind::Flag => "true or false".to_owned(),
            Kind::Integer => "a whole number".to_owned(),
            Kind::Ratio => "a number from 0 to 1, such as 0.5".to_owned(),
            Kind::Duration => "a duration with its unit, such as \"60s\" (ms, s, m, h, d)".to_owned(),
            Kind::Number => "a number, such as 0.5".to_owned(),
            Kind::Rate => "a rate with its unit, such as \"100/s\" (/s, /m, /h, /d)".to_owned(),
            Kind::Size => "a size with its unit, such as \"64MiB\" (B, KB, MB, GB, KiB, MiB, GiB)".to_owned(),
            Kind::Text => "text in quotes".to_owned(),
            Kind::Secret => "text in quotes or { file = \"path\" }".to_owned(),
            Kind::Path => "a path in quotes".to_owned(),
            Kind::Word(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            Kind::List(Kind::Section(_)) => "a list of tables".to_owned(),
            Kind::List(_) => "a list such as [\"a\", \"b\"]".to_owned(),
            Kind::Section(_) => "a table".to_owned(),
        }
    }

    /// Milliseconds, bytes or the number itself, of a bound in the table.
    pub(super) fn magnitude(self, text: &str) -> u64 {
        let text = text.trim_matches('"');
        let magnitude = match self {
            Kind::Duration => units::duration(text).and_then(|duration| u64::try_from(duration.as_millis()).ok()),
            Kind::Size => units::size(text),
            Kind::Rate => units::rate(text),
            Kind::Ratio => text.parse().ok().map(millionths),
            _ => text.parse().ok(),
        };
        magnitude.expect("bounds are written in the key's own unit; a test reads each")
    }

    /// A magnitude as it is written in the file, without quotes.
    pub(super) fn show(self, magnitude: u64) -> String {
        match self {
            Kind::Duration => units::show_duration(std::time::Duration::from_millis(magnitude)),
            Kind::Size => units::show_size(magnitude),
            Kind::Rate => units::show_rate(magnitude),
            Kind::Ratio => (magnitude as f64 / 1e6).to_string(),
            _ => magnitude.to_string(),
        }
    }
}

/// A ratio in millionths, which bounds are held against.
pub(super) fn millionths(ratio: f64) -> u64 {
    (ratio * 1e6).round() as u64
}

/// The name of a key, of the identifier of its field: those that are words of Rust have `r#` before them.
pub(super) const fn plain(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Declares a section of the file: the struct that holds it as written, and the table of its keys.
///
/// A key is `name: Type = default(value)`, `unset(example)`, `required(example)` or
/// `expected(example)`, the value being one TOML value;
/// then, where it applies, `, within least to greatest` with `because "reason"`, and `, only "scheme" ..` of
/// `store.url`. The doc comments are the reference text, for the people who write the file.
macro_rules! section {
    ($(
        $(#[doc = $about:literal])+
        $section:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $fallback:ident($value:tt)
                $(, within $least:literal to $greatest:literal $(because $because:literal)?)?
                $(, only $($scheme:literal)+)?;
            )+
        }
    )+) => {$(
        $(#[doc = $about])+
        ///
        /// A field is `None` when it is unset, or when its value was noted as an error.
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $section {
            pub place: $crate::config::finding::Place,
            $($(#[doc = $doc])+ pub $key: Option<$crate::config::read::Given<$type>>,)+
        }

        impl $crate::config::read::Raw for $section {
            const KIND: $crate::config::keys::Kind = $crate::config::keys::Kind::Section(&[$(
                $crate::config::keys::Key {
                    name: $crate::config::keys::plain(stringify!($key)),
                    doc: &[$($doc),+],
                    kind: <$type as $crate::config::read::Raw>::KIND,
                    fallback: section!(@fallback $fallback $value),
                    bounds: section!(@bounds $($least $greatest $($because)?)?),
                    only: &[$($($scheme),+)?],
                },
            )+]);

            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                place: &$crate::config::finding::Place,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let mut fields = reader.open(value, place, Self::KIND.keys())?;
                Some(Self { place: place.clone(), $($key: fields.take($crate::config::keys::plain(stringify!($key))),)+ })
            }
        }

        impl $crate::config::read::Section for $section {
            fn places(&self) -> Vec<(&'static str, $crate::config::finding::Place)> {
                vec![$((
                    $crate::config::keys::plain(stringify!($key)),
                    match &self.$key {
                        Some(given) => given.place.clone(),
                        None => self.place.missing($crate::config::keys::plain(stringify!($key))),
                    },
                ),)+]
            }
        }
    )+};
    (@fallback default $value:tt) => { $crate::config::keys::Fallback::Default(stringify!($value)) };
    (@fallback unset $value:tt) => { $crate::config::keys::Fallback::Unset(stringify!($value)) };
    (@fallback required $value:tt) => { $crate::config::keys::Fallback::Required(stringify!($value)) };
    (@fallback expected $value:tt) => { $crate::config::keys::Fallback::Expected(stringify!($value)) };
    (@bounds) => { None };
    (@bounds $least:literal $greatest:literal) => {
        Some($crate::config::keys::Bounds { least: stringify!($least), greatest: stringify!($greatest), because: None })
    };
    (@bounds $least:literal $greatest:literal $because:literal) => {
        Some($crate::config::keys::Bounds {
            least: stringify!($least),
            greatest: stringify!($greatest),
            because: Some($because),
        })
    };
}

pub(super) use section;
