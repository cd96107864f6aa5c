//! What is found in texts, and what is not.

use super::*;

fn kinds(text: &str) -> Vec<&'static str> {
    found_in(text, Kinds::ALL).iter().map(Kind::as_str).collect()
}

#[test]
fn cards_and_ibans_are_known_by_their_check_digits() {
    for text in ["4111111111111111", "5500 0055 5555 5559", "3400-0000-0000-009"] {
        assert!(is_card(text), "{text}");
    }
    for text in ["4111111111111112", "411111111111", "", "41111111111111111111111", "1111111111111117", "4111x111"] {
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
fn each_kind_is_found_by_itself_and_within_a_sentence() {
    for (kind, text) in [
        ("card", "4111111111111111"),
        ("card", "4111 1111 1111 1111"),
        ("card", "3782-822463-10005"),
        ("card", "6304 0000 0000 0000 00"),
        ("iban", "DE89370400440532013000"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("iban", "MT84MALT011000012345MTLCAST001S"),
        ("email", "ann.lee+news@mail.example.com"),
        ("us-ssn", "123-45-6789"),
        ("es-dni", "12345678Z"),
        ("es-dni", "X-1234567-L"),
        ("it-cf", "RSSMRA85T10A562S"),
        ("fr-nir", "185057800608491"),
        ("fr-nir", "1 85 05 78 006 084 91"),
        ("br-cpf", "111.444.777-35"),
    ] {
        assert_eq!(kinds(text), [kind], "{text}");
        for around in [("paid with ", ", thanks"), ("(", ")"), ("no=", "; x"), ("é", "é"), ("to:", ".")] {
            let text = format!("{}{text}{}", around.0, around.1);
            assert_eq!(kinds(&text), [kind], "{text}");
        }
    }
    assert_eq!(kinds("ann@example.com, 123-45-6789"), ["email", "us-ssn"]);
}

#[test]
fn what_only_looks_like_one_is_not_found() {
    for text in [
        "",
        "4111111111111112",
        "0000000000000000",
        "4444444444444444",
        "x4111111111111111",
        "4111111111111111x",
        "_4111111111111111",
        "0.4111111111111111",
        "4111111111111111.5",
        "4111-1111 1111-1111",
        "4111 1111 1111 1111 1111 1111",
        "41 11 11 11 11 11 11 11",
        "1700000000000000",
        "550e8400-e29b-41d4-a716-446655440000",
        "2013-01-01T10:15:00.123456Z",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "DE88370400440532013000",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "@example.com",
        "ann@example",
        "ann@@example.com",
        "ann@example.c",
        "ann@.example.com",
        "user@10.0.0.1",
        "000-45-6789",
        "666-45-6789",
        "900-45-6789",
        "123-00-6789",
        "123-45-67890",
        "1-123-45-6789",
        "12345678A",
        "X1234567A",
        "RSSMRA85T10A562T",
        "185057800608492",
        "185137800608465",
        "111.444.777-36",
        "111.111.111-11",
        "111-444-777.35",
    ] {
        assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn only_what_is_wanted_is_looked_for() {
    let text = "ann@example.com 4111111111111111";
    assert_eq!(found_in(text, Kinds::from_iter([Kind::Card])).iter().collect::<Vec<_>>(), [Kind::Card]);
    assert!(found_in(text, Kinds::default()).is_empty());
}

proptest::proptest! {
    /// Whatever a text is, it is looked through without a panic, and what is found stays found between blanks.
    #[test]
    fn any_text_is_looked_through(text in ".{0,60}") {
        let alone = found_in(&text, Kinds::ALL);
        let between = found_in(&format!(" {text} "), Kinds::ALL);
        proptest::prop_assert!(alone.iter().all(|kind| between.has(kind)), "{:?}", alone);
    }
}
