//! Texts that hold what is about a person: numbers with check digits, and addresses of e-mail. Pure; where it stands, and what
//! its field is called, is of no matter here.
//!
//! A number counts only where it stands by itself, not within a longer word, and where its check digits are right: a text that
//! happens to look like one is rare enough to be worth a look.

mod numbers;
#[cfg(test)]
mod tests;

/// What a text can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The number of a payment card (ISO/IEC 7812-1), by Luhn's check digit.
    Card,
    /// The number of a bank account (ISO 13616-1), by its country's length and its check digits.
    Iban,
    /// An address of e-mail.
    Email,
    /// Social Security number of the United States, written 123-45-6789. It has no check digit.
    UsSsn,
    /// DNI or NIE of Spain, by its letter.
    EsDni,
    /// Codice fiscale of Italy, by its letter.
    ItCf,
    /// NIR of France, with its key.
    FrNir,
    /// CPF of Brazil, written 123.456.789-09, by its check digits.
    BrCpf,
}

impl Kind {
    pub const ALL: [Kind; 8] =
        [Kind::Card, Kind::Iban, Kind::Email, Kind::UsSsn, Kind::EsDni, Kind::ItCf, Kind::FrNir, Kind::BrCpf];

    /// As metrics and issues name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Card => "card",
            Kind::Iban => "iban",
            Kind::Email => "email",
            Kind::UsSsn => "us-ssn",
            Kind::EsDni => "es-dni",
            Kind::ItCf => "it-cf",
            Kind::FrNir => "fr-nir",
            Kind::BrCpf => "br-cpf",
        }
    }
}

/// Some of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    pub const ALL: Kinds = Kinds(u8::MAX);

    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    fn add(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        let mut all = Kinds::default();
        kinds.into_iter().for_each(|kind| all.add(kind));
        all
    }
}

/// The fewest digits that any of the numbers has.
const DIGITS_MIN: usize = 7;

/// Which of the `wanted` kinds `text` holds. Most texts cost one pass over their bytes.
pub fn found_in(text: &str, wanted: Kinds) -> Kinds {
    let (mut digits, mut at) = (0, 0);
    for byte in text.bytes() {
        digits += usize::from(byte.is_ascii_digit());
        at += usize::from(byte == b'@');
    }
    let mut found = Kinds::default();
    if at > 0 && wanted.has(Kind::Email) && holds_email(text.as_bytes()) {
        found.add(Kind::Email);
    }
    if digits < DIGITS_MIN {
        return found;
    }
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        if !begins_word(bytes, at) {
            continue;
        }
        let word = &bytes[at..];
        let after_number = at > 1 && matches!(bytes[at - 1], b'.' | b'-') && bytes[at - 2].is_ascii_digit();
        for (kind, is_there) in numbers::BY_FORM {
            // What follows a hyphen or a point after a digit is a part of a longer number.
            if wanted.has(kind) && !found.has(kind) && !after_number && is_there(word) {
                found.add(kind);
            }
        }
    }
    found
}

fn begins_word(bytes: &[u8], at: usize) -> bool {
    bytes[at].is_ascii_alphanumeric() && (at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_'))
}

/// Whether somewhere stands `local@label.label`, the last label being letters (as in RFC 5321, without quotes and comments).
fn holds_email(bytes: &[u8]) -> bool {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let mut signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'@').map(|(at, _)| at);
    signs.any(|at| {
        let has_local = at > 0 && is_local(&bytes[at - 1]) && bytes[at - 1] != b'.';
        has_local && is_domain(&bytes[at + 1..])
    })
}

fn is_domain(bytes: &[u8]) -> bool {
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let end = bytes.iter().position(|byte| !is_label(byte) && *byte != b'.').unwrap_or(bytes.len());
    let name = bytes[..end].strip_suffix(b".").unwrap_or(&bytes[..end]);
    let mut labels = name.rsplit(|byte| *byte == b'.');
    let last = labels.next().unwrap_or_default();
    let mut others = labels.peekable();
    last.len() >= 2
        && last.iter().all(u8::is_ascii_alphabetic)
        && others.peek().is_some()
        && others.all(|label| !label.is_empty() && label[0] != b'-')
}

pub use numbers::{is_card, is_iban};
