//! Numbers that tell by their form and their check digits what they are.

use super::Kind;

/// The digits of a card's number (ISO/IEC 7812-1).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// The characters of an IBAN (ISO 13616-1).
const IBAN_CHARACTERS: std::ops::RangeInclusive<usize> = 15..=34;

/// Characters of an IBAN by its country (the registry of SWIFT, ISO 13616-2).
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Tells of bytes that begin a word whether it is a number of the kind, up to its end.
type IsThere = fn(&[u8]) -> bool;

pub(super) const BY_FORM: [(Kind, IsThere); 7] = [
    (Kind::Card, card),
    (Kind::Iban, iban),
    (Kind::UsSsn, us_ssn),
    (Kind::EsDni, es_dni),
    (Kind::ItCf, it_cf),
    (Kind::FrNir, fr_nir),
    (Kind::BrCpf, br_cpf),
];

/// Whether `text` has the digits of a card's number, with blanks or hyphens between them, and its check digit is right.
pub fn is_card(text: &str) -> bool {
    let mut digits = [0_u8; 19];
    let mut count = 0;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if count < digits.len() => {
                digits[count] = byte - b'0';
                count += 1;
            }
            b' ' | b'-' if count > 0 => {}
            _ => return false,
        }
    }
    is_card_number(&digits[..count])
}

/// Whether `text` is written as an IBAN, blanks between its groups allowed, and its check digits are right (ISO 7064, 97-10).
pub fn is_iban(text: &str) -> bool {
    let characters: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').take(IBAN_CHARACTERS.end() + 1).collect();
    is_iban_number(&characters)
}

/// Digits, each from 0 to 9.
fn is_card_number(digits: &[u8]) -> bool {
    // Numbers that begin otherwise are of no card.
    if !CARD_DIGITS.contains(&digits.len()) || !matches!(digits[0], 2..=6) {
        return false;
    }
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum = digits.iter().rev().enumerate();
    let sum: u32 = sum.map(|(at, digit)| u32::from(if at % 2 == 1 { doubled(*digit) } else { *digit })).sum();
    // Zeros check, too, and are no card's.
    sum.is_multiple_of(10) && digits[1..].iter().any(|digit| *digit != digits[0])
}

fn is_iban_number(characters: &[u8]) -> bool {
    let [c1, c2, d1, d2, rest @ ..] = characters else { return false };
    let is_written = IBAN_CHARACTERS.contains(&characters.len())
        && [c1, c2].iter().all(|byte| byte.is_ascii_uppercase())
        && [d1, d2].iter().all(|byte| byte.is_ascii_digit())
        && rest.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let turned = rest.iter().chain([c1, c2, d1, d2]);
    is_written
        && turned.fold(0_u32, |left, byte| match byte {
            b'0'..=b'9' => (left * 10 + u32::from(byte - b'0')) % 97,
            _ => (left * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
        }) == 1
}

/// Unbroken, or in the groups that are printed on cards: 4-4-4-4 and what follows of longer ones, or 4-6-5.
fn card(word: &[u8]) -> bool {
    let run = digits_at(word);
    if CARD_DIGITS.contains(&run) {
        return ends(word, run) && is_card_number(&values(&word[..run]));
    }
    let Some(separator) = word.get(run).filter(|byte| run == 4 && matches!(byte, b' ' | b'-')) else { return false };
    let (mut number, mut at) = (values(&word[..run]), run);
    let mut groups = vec![run];
    // Five groups are the most; a text that goes on with digits is something else.
    while groups.len() < 5 && word.get(at) == Some(separator) {
        let next = digits_at(&word[at + 1..]);
        if next == 0 {
            break;
        }
        number.extend(values(&word[at + 1..at + 1 + next]));
        groups.push(next);
        at += 1 + next;
    }
    let is_grouped = matches!(groups[..], [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 5]);
    is_grouped && ends(word, at) && is_card_number(&number)
}

fn iban(word: &[u8]) -> bool {
    let Some((_, length)) = IBAN_LENGTHS.iter().find(|(country, _)| word.starts_with(*country)) else { return false };
    let mut characters = Vec::with_capacity(*length);
    let mut at = 0;
    while characters.len() < *length {
        match word.get(at) {
            Some(byte) if byte.is_ascii_digit() || byte.is_ascii_uppercase() => characters.push(*byte),
            // As it is printed: in groups of four.
            Some(b' ') if characters.len().is_multiple_of(4) && at > 0 && word[at - 1] != b' ' => {}
            _ => return false,
        }
        at += 1;
    }
    ends(word, at) && is_iban_number(&characters)
}

/// 123-45-6789: area, group and serial number; some were never given (42 CFR 422.103, and the SSA's notes on it).
fn us_ssn(word: &[u8]) -> bool {
    let Some([area, group, serial]) = parts(word, b"-", [3, 2, 4]) else { return false };
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0
}

/// 12345678Z, or X1234567L: the rest by 23 chooses the letter (Orden INT/2058/2008).
fn es_dni(word: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let (first, rest) = match word.first() {
        Some(letter @ b'X'..=b'Z') => (Some(letter - b'X'), word[1..].strip_prefix(b"-").unwrap_or(&word[1..])),
        _ => (None, word),
    };
    let count = if first.is_some() { 7 } else { 8 };
    if digits_at(rest) != count {
        return false;
    }
    let number =
        values(&rest[..count]).iter().fold(u32::from(first.unwrap_or(0)), |sum, digit| sum * 10 + u32::from(*digit));
    let letter = rest[count..].strip_prefix(b"-").unwrap_or(&rest[count..]);
    letter.first() == Some(&LETTERS[(number % 23) as usize]) && ends(letter, 1)
}

/// RSSMRA85T10A562S: six letters, year, month, day, place, and a letter that checks (Decreto 12 marzo 1974).
fn it_cf(word: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    const FORM: &[u8; 16] = b"AAAAAA00A00A000A";
    let Some(code) = word.get(..16).filter(|_| ends(word, 16)) else { return false };
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte.is_ascii_uppercase() };
    if !code.iter().zip(FORM).all(fits) {
        return false;
    }
    let place = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let worth = |(at, byte): (usize, &u8)| match at % 2 {
        0 => ODD[place(*byte) as usize],
        _ => place(*byte),
    };
    code[..15].iter().enumerate().map(worth).sum::<u32>() % 26 == place(code[15])
}

/// 1 85 05 78 006 084 91, or unbroken: sex, year, month, place, number, and a key of 97 (INSEE).
fn fr_nir(word: &[u8]) -> bool {
    const GROUPS: [usize; 7] = [1, 2, 2, 2, 3, 3, 2];
    let digits = match digits_at(word) {
        15 if ends(word, 15) => values(&word[..15]),
        1 => match grouped(word, b" ", GROUPS) {
            Some(digits) => digits,
            None => return false,
        },
        _ => return false,
    };
    let of = |digits: &[u8]| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(*digit));
    let month = of(&digits[3..5]);
    matches!(digits[0], 1 | 2) && (1..=12).contains(&month) && of(&digits[13..]) == 97 - of(&digits[..13]) % 97
}

/// 123.456.789-09: two check digits, each by 11 (Receita Federal).
fn br_cpf(word: &[u8]) -> bool {
    let Some(digits) = grouped(word, b".-", [3, 3, 3, 2]) else { return false };
    let form = [3, 7, 11].map(|at| word[at]);
    let check = |count: usize| {
        let sum: u32 = digits[..count]
            .iter()
            .zip((2..=count as u32 + 1).rev())
            .map(|(digit, weight)| u32::from(*digit) * weight)
            .sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    let checks = u32::from(digits[9]) == check(9) && u32::from(digits[10]) == check(10);
    form == *b"..-" && checks && digits[1..].iter().any(|digit| *digit != digits[0])
}

/// Digits from the start on.
fn digits_at(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The values of digits.
fn values(digits: &[u8]) -> Vec<u8> {
    digits.iter().map(|digit| digit - b'0').collect()
}

/// Whether a word ends at that place, and no longer number goes on behind it.
fn ends(word: &[u8], at: usize) -> bool {
    let joined = |byte: &u8| matches!(byte, b'-' | b'.') && word.get(at + 1).is_some_and(u8::is_ascii_digit);
    word.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && !joined(byte))
}

/// The digits of groups of those lengths, with one of `separators` between two.
fn grouped<const N: usize>(word: &[u8], separators: &[u8], lengths: [usize; N]) -> Option<Vec<u8>> {
    let (mut digits, mut at) = (Vec::new(), 0);
    for (place, length) in lengths.into_iter().enumerate() {
        if place > 0 {
            word.get(at).filter(|byte| separators.contains(byte))?;
            at += 1;
        }
        if digits_at(&word[at..]) != length {
            return None;
        }
        digits.extend(values(&word[at..at + length]));
        at += length;
    }
    ends(word, at).then_some(digits)
}

/// The same as numbers.
fn parts<const N: usize>(word: &[u8], separators: &[u8], lengths: [usize; N]) -> Option<[u32; N]> {
    let digits = grouped(word, separators, lengths)?;
    let mut rest = digits.as_slice();
    Some(lengths.map(|length| {
        let (part, after) = rest.split_at(length);
        rest = after;
        part.iter().fold(0, |sum, digit| sum * 10 + u32::from(*digit))
    }))
}
