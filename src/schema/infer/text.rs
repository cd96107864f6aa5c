//! What has been seen of strings at one place: how many fit which format, and the distinct ones while they are few.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use super::number;
use crate::personal;
use crate::schema::json::{TapeJson, TapeNode};

/// Bytes of a string that may be a value of an enumeration.
const VALUE_BYTES_MAX: usize = 64;

/// A format of JSON Schema 2020-12 (Validation, 7.3) that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    DateTime,
    Date,
    Time,
    Uuid,
    Ipv4,
    Ipv6,
    Email,
    Uri,
}

impl Format {
    pub(super) const ALL: [Format; 8] = {
        use Format::*;
        [DateTime, Date, Time, Uuid, Ipv4, Ipv6, Email, Uri]
    };

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Format::DateTime => "date-time",
            Format::Date => "date",
            Format::Time => "time",
            Format::Uuid => "uuid",
            Format::Ipv4 => "ipv4",
            Format::Ipv6 => "ipv6",
            Format::Email => "email",
            Format::Uri => "uri",
        }
    }

    /// For people.
    pub(super) const fn called(self) -> &'static str {
        match self {
            Format::DateTime => "a date-time",
            Format::Date => "a date",
            Format::Time => "a time",
            Format::Uuid => "a UUID",
            Format::Ipv4 => "an IPv4 address",
            Format::Ipv6 => "an IPv6 address",
            Format::Email => "an address of e-mail",
            Format::Uri => "a URI",
        }
    }

    /// Whether `text` has it: as the validator judges, and nearly everybody would say. So no text is taken for a URI only
    /// because it has a colon.
    fn fits(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let may = match self {
            Format::DateTime => bytes.len() >= 20 && matches!(bytes[10], b'T' | b't'),
            Format::Date => bytes.len() == 10 && bytes[4] == b'-',
            Format::Time => bytes.len() >= 9 && bytes[2] == b':' && bytes[5] == b':',
            Format::Uuid => bytes.len() == 36 && bytes[8] == b'-',
            Format::Ipv4 => (7..=15).contains(&bytes.len()) && bytes.contains(&b'.') && bytes[0].is_ascii_digit(),
            Format::Ipv6 => bytes.iter().filter(|byte| **byte == b':').count() >= 2 && bytes.len() <= 45,
            Format::Email => bytes.contains(&b'@') && bytes.contains(&b'.'),
            Format::Uri => text.contains("://") || text.starts_with("urn:") || text.starts_with("mailto:"),
        };
        may && VALIDATORS[self as usize].is_valid(TapeNode::Name(text))
    }
}

/// What judges events by a format judges here, too.
static VALIDATORS: LazyLock<[jsonschema::Validator<TapeJson>; Format::ALL.len()]> = LazyLock::new(|| {
    Format::ALL.map(|format| {
        let schema = json!({ "format": format.as_str() });
        let options = jsonschema::options_for::<TapeJson>().should_validate_formats(true);
        options.build(&schema).expect("a format alone is a schema")
    })
});

/// Strings of one place. A function of the strings alone, whatever their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts {
    pub(super) count: u64,
    pub(super) empty: u64,
    /// How many have each of [`Format::ALL`].
    fits: [u64; Format::ALL.len()],
    /// Instants finer than microseconds.
    pub(super) finer: u64,
    /// Dates and instants that no column holds: leap seconds, years before 1.
    pub(super) unheld: u64,
    /// Those that are a number as JSON writes it, and of those: with a fraction.
    pub(super) numbers: u64,
    pub(super) decimals: u64,
    /// The most digits behind the point of those.
    pub(super) scale: u32,
    pub(super) cards: u64,
    pub(super) ibans: u64,
    pub(super) distinct: Distinct,
}

/// The distinct strings with how often each was seen, or that they are too many or too long to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Distinct {
    Few(BTreeMap<Box<str>, u64>),
    Many,
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Few(BTreeMap::new())
    }
}

impl Distinct {
    fn add(&mut self, text: &str, times: u64, distinct_max: usize) {
        let Distinct::Few(known) = self else { return };
        if let Some(count) = known.get_mut(text) {
            *count += times;
        } else if known.len() < distinct_max && text.len() <= VALUE_BYTES_MAX {
            known.insert(text.into(), times);
        } else {
            *self = Distinct::Many;
        }
    }
}

impl Texts {
    pub(super) fn observe(&mut self, text: &str, distinct_max: usize) {
        self.count += 1;
        self.distinct.add(text, 1, distinct_max);
        if text.is_empty() {
            self.empty += 1;
            return;
        }
        for format in Format::ALL.into_iter().filter(|format| format.fits(text)) {
            self.fits[format as usize] += 1;
            match format {
                Format::DateTime => {
                    self.finer += u64::from(is_finer(text));
                    self.unheld += u64::from(is_unheld(text));
                }
                Format::Date => self.unheld += u64::from(text.starts_with("0000")),
                _ => {}
            }
        }
        if is_number(text) {
            self.numbers += 1;
            self.decimals += u64::from(text.contains('.'));
            let (_, exponent) = number::significant(text);
            let behind = u32::try_from(exponent.saturating_neg().max(0)).unwrap_or(u32::MAX);
            self.scale = self.scale.max(behind);
        }
        self.cards += u64::from(personal::is_card(text));
        self.ibans += u64::from(personal::is_iban(text));
    }

    pub(super) fn merge(&mut self, other: Self, distinct_max: usize) {
        let Self { count, empty, fits, finer, unheld, numbers, decimals, scale, cards, ibans, distinct } = other;
        self.count += count;
        self.empty += empty;
        self.fits.iter_mut().zip(fits).for_each(|(ours, theirs)| *ours += theirs);
        self.finer += finer;
        self.unheld += unheld;
        self.numbers += numbers;
        self.decimals += decimals;
        self.scale = self.scale.max(scale);
        self.cards += cards;
        self.ibans += ibans;
        match distinct {
            Distinct::Many => self.distinct = Distinct::Many,
            Distinct::Few(known) => {
                known.iter().for_each(|(text, times)| self.distinct.add(text, *times, distinct_max))
            }
        }
    }

    pub(super) fn fits(&self, format: Format) -> u64 {
        self.fits[format as usize]
    }

    /// The format that most of them have, if any has one.
    pub(super) fn likeliest(&self) -> Option<(Format, u64)> {
        let known = Format::ALL.into_iter().map(|format| (format, self.fits(format))).filter(|(_, fits)| *fits > 0);
        // The first of equals: they are listed from the narrowest.
        known.rev().max_by_key(|(_, fits)| *fits)
    }
}

/// Whether an instant has digits that count behind its microseconds.
fn is_finer(text: &str) -> bool {
    let fraction = text.get(19..).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    fraction.bytes().take_while(u8::is_ascii_digit).skip(6).any(|digit| digit != b'0')
}

/// Whether an instant is one that columns of instants refuse; those within a day of the first and the last year's end that
/// are not given in UTC are among them.
fn is_unheld(text: &str) -> bool {
    let is_utc = text.ends_with(['Z', 'z']);
    let is_edge = text.starts_with("0001-01-01") || text.starts_with("9999-12-31");
    text.get(17..19) == Some("60") || text.starts_with("0000") || (is_edge && !is_utc)
}

/// Whether `text` is a number of JSON (RFC 8259, section 6) without an exponent.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole) && are_digits(fraction) && (whole.len() == 1 || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(text: &str) -> Vec<&'static str> {
        Format::ALL.into_iter().filter(|format| format.fits(text)).map(Format::as_str).collect()
    }

    #[test]
    fn each_format_is_told_from_the_others() {
        for (text, expected) in [
            ("2026-01-31T10:15:00Z", "date-time"),
            ("2026-01-31T10:15:00.123456789+01:00", "date-time"),
            ("2026-01-31", "date"),
            ("10:15:00Z", "time"),
            ("6fa459ea-ee8a-3ca4-894e-db77e160355e", "uuid"),
            ("192.168.0.1", "ipv4"),
            ("2001:db8::1", "ipv6"),
            ("a@example.com", "email"),
            ("https://example.com/a?b", "uri"),
            ("urn:isbn:0451450523", "uri"),
        ] {
            assert_eq!(formats(text), [expected], "{text}");
        }
        for text in ["status:ok", "10:15", "2026-02-30", "1.2.3", "x@y", "é:é:éé:é", "éééééééééééé"] {
            assert!(formats(text).is_empty(), "{text}: {:?}", formats(text));
        }
    }

    #[test]
    fn instants_that_no_column_holds_are_counted() {
        let mut texts = Texts::default();
        for text in ["2016-12-31T23:59:60Z", "0000-12-31T10:00:00Z", "9999-12-31T23:59:59-01:00", "0000-12-31"] {
            texts.observe(text, 9);
        }
        texts.observe("9999-12-31T23:59:59Z", 9);
        assert_eq!((texts.unheld, texts.finer), (4, 0));
        texts.observe("2026-01-31T10:15:00.1234567Z", 9);
        texts.observe("2026-01-31T10:15:00.1234560Z", 9);
        assert_eq!((texts.unheld, texts.finer), (4, 1));
    }

    #[test]
    fn distinct_strings_are_kept_while_they_are_few_and_short() {
        let seen = |texts: &[&str]| {
            let mut seen = Texts::default();
            texts.iter().for_each(|text| seen.observe(text, 2));
            seen.distinct
        };
        assert_eq!(seen(&["a", "b", "a"]), Distinct::Few([("a".into(), 2), ("b".into(), 1)].into()));
        assert_eq!(seen(&["a", "b", "c"]), Distinct::Many);
        assert_eq!(seen(&[&"x".repeat(VALUE_BYTES_MAX + 1), "a"]), Distinct::Many);
    }
}
