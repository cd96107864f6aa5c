//! What looks as if it were about a person, or an id: by its content, and by the name of its field.

/// The digits of a card's number (ISO/IEC 7812-1).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// The characters of an IBAN (ISO 13616-1).
const IBAN_CHARACTERS: std::ops::RangeInclusive<usize> = 15..=34;

/// Words in the names of fields that hold what is about a person, or a secret.
const PERSONAL: &[&[&str]] = &[
    &["email"],
    &["mail"],
    &["phone"],
    &["telephone"],
    &["mobile"],
    &["fax"],
    &["iban"],
    &["ssn"],
    &["passport"],
    &["password"],
    &["passwd"],
    &["secret"],
    &["token"],
    &["api", "key"],
    &["birthday"],
    &["birthdate"],
    &["birth"],
    &["dob"],
    &["surname"],
    &["lastname"],
    &["firstname"],
    &["fullname"],
    &["first", "name"],
    &["last", "name"],
    &["full", "name"],
    &["middle", "name"],
    &["given", "name"],
    &["family", "name"],
    &["street"],
    &["address"],
    &["pan"],
    &["cvv"],
    &["cvc"],
    &["card", "number"],
];

/// Words in the names of fields that tell one thing from all others.
const IDS: &[&str] =
    &["id", "ids", "uuid", "guid", "ulid", "key", "token", "hash", "ref", "reference", "number", "nr", "no", "serial"];

/// Whether `text` has the digits of a card's number, with blanks or hyphens between them, and its check digit is right.
pub(super) fn is_card(text: &str) -> bool {
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
    let digits = &digits[..count];
    // Numbers that begin otherwise are of no card.
    if !CARD_DIGITS.contains(&count) || !matches!(digits[0], 2..=6) {
        return false;
    }
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum = digits.iter().rev().enumerate();
    let sum: u32 = sum.map(|(at, digit)| u32::from(if at % 2 == 1 { doubled(*digit) } else { *digit })).sum();
    sum.is_multiple_of(10)
}

/// Whether `text` is written as an IBAN, blanks between its groups allowed, and its check digits are right (ISO 7064, 97-10).
pub(super) fn is_iban(text: &str) -> bool {
    let characters: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').take(IBAN_CHARACTERS.end() + 1).collect();
    let [c1, c2, d1, d2, rest @ ..] = characters.as_slice() else { return false };
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

/// Whether the name of a field says that it holds what is about a person, or a secret.
pub(super) fn is_personal_name(name: &str) -> bool {
    let words = words(name);
    PERSONAL.iter().any(|known| words.windows(known.len()).any(|some| some == *known))
}

/// Whether the name of a field says that it tells one thing from all others.
pub(super) fn is_id_name(name: &str) -> bool {
    words(name).iter().any(|word| IDS.contains(&word.as_str()))
}

/// Whether a name of an object's member is more of a value than a name: digits, a date, a UUID, an address of e-mail.
pub(super) fn is_value_name(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_of = |others: &[u8]| name.bytes().all(|byte| byte.is_ascii_digit() || others.contains(&byte));
    let is_hexadecimal = name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    digits > 0 && (is_of(b"-:./TZ") || is_hexadecimal) || name.contains('@')
}

/// The words of a name, in lower case: `customerId`, `customer_id` and `customer-id` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for character in name.chars() {
        let begins = !character.is_alphanumeric() || (character.is_uppercase() && before_is_lower);
        if begins && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if character.is_alphanumeric() {
            words.last_mut().expect("there is always one").extend(character.to_lowercase());
        }
        before_is_lower = character.is_lowercase() || character.is_numeric();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_ibans_are_known_by_their_check_digits() {
        for text in ["4111111111111111", "5500 0055 5555 5559", "3400-0000-0000-009"] {
            assert!(is_card(text), "{text}");
        }
        for text in ["4111111111111112", "411111111111", "", "41111111111111111111111", "1111111111111117", "4111x111"]
        {
            assert!(!is_card(text), "{text}");
        }
        for text in ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "NO9386011117947"] {
            assert!(is_iban(text), "{text}");
        }
        for text in ["DE88370400440532013000", "de89370400440532013000", "DE89", "", "DE8937040044053201300é"] {
            assert!(!is_iban(text), "{text}");
        }
    }

    #[test]
    fn names_are_read_by_their_words() {
        for name in ["email", "customerEmail", "first_name", "lastName", "card-number", "PHONE"] {
            assert!(is_personal_name(name), "{name}");
        }
        for name in ["name", "company", "mailbox", "span", "number"] {
            assert!(!is_personal_name(name), "{name}");
        }
        for name in ["id", "order_id", "orderId", "ID", "serial-no"] {
            assert!(is_id_name(name), "{name}");
        }
        for name in ["idle", "carrier", "kidney", "keyboard"] {
            assert!(!is_id_name(name), "{name}");
        }
    }

    #[test]
    fn names_that_are_values_are_told_from_those_that_are_names() {
        for name in ["17", "2026-01-31", "6fa459ea-ee8a-3ca4-894e-db77e160355e", "a@example.com", "10.0.0.1"] {
            assert!(is_value_name(name), "{name}");
        }
        for name in ["a", "a1", "facade", "deadbeef", "line_1", ""] {
            assert!(!is_value_name(name), "{name}");
        }
    }
}
