//! What looks as if it were about a person, or an id, by the name of its field; and names that are values themselves.

use crate::personal::{Kinds, found_in};

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
    // `T1` is a name, and so are `@timestamp` and `@id`.
    let is_number = name.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit()) && is_of(b"-:./TZ");
    digits > 0 && (is_number || is_hexadecimal) || name.trim_start_matches('@').contains('@')
}

/// Whether a name is not to be told: it is more of a value than a name, or holds what is about a person.
pub(super) fn is_untold_name(name: &str) -> bool {
    is_value_name(name) || !found_in(name, Kinds::ALL).is_empty()
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
        for name in ["-5", "12:30", "a@b"] {
            assert!(is_value_name(name), "{name}");
        }
        for name in ["a", "a1", "facade", "deadbeef", "line_1", "T1", "Z", "@timestamp", "@id", "-", ""] {
            assert!(!is_value_name(name), "{name}");
            assert!(!is_untold_name(name), "{name}");
        }
        for name in
            ["17", "a@example.com", "mail to ann@example.com", "iban_GB82WEST12345698765432 GB82WEST12345698765432"]
        {
            assert!(is_untold_name(name), "{name}");
        }
    }
}
