//! Strings and numbers: formats, enumerations, ranges, and what is not for everybody.

use serde_json::{Value as Json, json};

use super::{Keywords, Writer, of_type};
use crate::schema::infer::finding::{Doubt, grouped};
use crate::schema::infer::number::{Bound, Numbers};
use crate::schema::infer::personal;
use crate::schema::infer::text::{Distinct, Format, Texts};
use crate::schema::{FINER, SENSITIVE};

/// Strings that must have a format until it is asked of all.
pub(in crate::schema::infer) const FORMAT_MIN: u64 = 20;

/// Strings that must be seen until their values are taken for all there are, and of each value on average. Every value
/// must have been seen twice: by Good and Turing, the share of what was seen once is the chance that the next is new.
const ENUM_MIN: u64 = 100;
const ENUM_EACH_MIN: u64 = 20;
const ENUM_SEEN_MIN: u64 = 2;

/// Numbers that must have a right check digit until they are taken for those of cards, and what part of all: of other
/// numbers, one in ten has.
const CARDS_MIN: u64 = 5;
const CARDS_IN_TEN_MIN: u64 = 9;

/// The most digits that a column of decimals holds.
const DECIMAL_DIGITS_MAX: u32 = 38;

impl Writer<'_> {
    pub(super) fn string(&mut self, texts: &Texts, name: &str, nullable: bool) -> Keywords {
        let mut keywords = of_type("string");
        let is_sensitive = self.sensitive_text(texts, name);
        if let Some(format) = self.format(texts) {
            keywords.insert("format".to_owned(), json!(format.as_str()));
            if format == Format::DateTime && texts.finer > 0 {
                let evidence = format!("{} of {} are finer", grouped(texts.finer), grouped(texts.count));
                let alternative = format!("without {FINER}: those are dead letters");
                self.find(Doubt::Digits, "cut to microseconds in its column, whole in _extra", evidence, alternative);
                keywords.insert(FINER.to_owned(), json!(true));
            }
            return keywords;
        }
        self.decimal_text(texts);
        if !is_sensitive && let Some(values) = self.enumeration(texts, name, nullable) {
            keywords.insert("enum".to_owned(), json!(values));
        }
        keywords
    }

    /// The format that is asked for, if any.
    fn format(&mut self, texts: &Texts) -> Option<Format> {
        let (format, fits) = texts.likeliest()?;
        let filled = texts.count - texts.empty;
        let called = format.called();
        if fits < filled {
            // A text that happens to have a format says nothing.
            if fits >= FORMAT_MIN && fits * 10 >= filled * 9 {
                let evidence = format!("{} of {} look like {called}", grouped(fits), grouped(filled));
                self.find(
                    Doubt::Format,
                    "string",
                    evidence,
                    format!("format {}: the others are dead letters", format.as_str()),
                );
            }
            return None;
        }
        let alternative = format!("format {}", format.as_str());
        if texts.empty > 0 {
            let evidence =
                format!("looks like {called} in all {}, and {} are empty", grouped(fits), grouped(texts.empty));
            self.find(Doubt::Format, "string", evidence, alternative + ": the empty ones are dead letters");
            return None;
        }
        if fits < FORMAT_MIN {
            let evidence = format!("looks like {called} in all of {} only", grouped(fits));
            self.find(Doubt::Format, "string", evidence, alternative);
            return None;
        }
        if texts.unheld > 0 {
            let evidence = format!(
                "looks like {called} in all {}, and {} are leap seconds, or at the ends of the years 1 to 9999",
                grouped(fits),
                grouped(texts.unheld)
            );
            self.find(Doubt::Format, "string", evidence, alternative + ": those are dead letters");
            return None;
        }
        Some(format)
    }

    /// Amounts that are written as strings, so as to keep their digits.
    fn decimal_text(&mut self, texts: &Texts) {
        if texts.count < FORMAT_MIN || texts.numbers < texts.count || texts.decimals == 0 {
            return;
        }
        let scale = texts.scale;
        let evidence = format!("a number in all {}, with up to {scale} digits behind the point", grouped(texts.count));
        let alternative = format!("format decimal, scale {scale}: a column of decimals");
        self.find(Doubt::Digits, "string", evidence, alternative);
    }

    /// The values that are all there are, as far as can be told; none that tell one thing from all others.
    fn enumeration(&mut self, texts: &Texts, name: &str, nullable: bool) -> Option<Vec<Json>> {
        let Distinct::Few(values) = &texts.distinct else { return None };
        let enough = texts.count >= ENUM_MIN && texts.count >= ENUM_EACH_MIN * values.len() as u64;
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let are_numbers = texts.numbers > 0 || values.keys().any(|value| is_digits(value));
        if self.options.no_enums || !enough || are_numbers || personal::is_id_name(name) {
            return None;
        }
        let rare = values.values().filter(|seen| **seen < ENUM_SEEN_MIN).count();
        let count = values.len();
        let evidence = match (count, rare) {
            (1, _) => format!("the same value in all {}", grouped(texts.count)),
            (_, 0) => format!("{count} values in {}, none of them once", grouped(texts.count)),
            _ => format!("{count} values in {}, {rare} of them once: there may be more", grouped(texts.count)),
        };
        let is_sure = count > 1 && rare == 0;
        if !is_sure && !self.options.strict {
            self.find(Doubt::Enumeration, "string", evidence, "an enumeration (--strict): new values are dead letters");
            return None;
        }
        let chosen = if nullable { "an enumeration, with null" } else { "an enumeration" };
        self.find(Doubt::Enumeration, chosen, evidence, "string (--no-enums): new values are no dead letters");
        Some(values.keys().map(|value| json!(value)).collect())
    }

    pub(super) fn number(&mut self, numbers: &Numbers, name: &str) -> Keywords {
        let is_integer = numbers.fractions == 0;
        let mut keywords = of_type(if is_integer { "integer" } else { "number" });
        if !is_integer {
            self.fractions(numbers);
        }
        if is_integer && numbers.big > 0 {
            self.wide(numbers, numbers.big, "beyond signed integers of 64 bits", &mut keywords);
        } else if !is_integer && numbers.lossy > 0 {
            self.wide(numbers, numbers.lossy, "such that a double loses digits", &mut keywords);
        }
        let is_sensitive = self.sensitive_number(numbers, name);
        if let Some((least, greatest)) = numbers.range.filter(|_| !is_sensitive) {
            self.range(numbers, least, greatest, &mut keywords);
        }
        keywords
    }

    fn fractions(&mut self, numbers: &Numbers) {
        let all = numbers.count();
        let true_fractions = numbers.fractions - numbers.whole;
        let (evidence, alternative) = if true_fractions == 0 {
            let evidence = format!(
                "{} of {} have a point or an exponent, and all are whole",
                grouped(numbers.fractions),
                grouped(all)
            );
            (evidence, "integer, which takes them as well")
        } else if true_fractions * 100 <= all {
            let evidence =
                format!("{} of {} have a fraction, the others are whole", grouped(true_fractions), grouped(all));
            (evidence, "integer: those are dead letters")
        } else {
            return;
        };
        self.find(Doubt::Types, "number", evidence, alternative);
    }

    /// A column of decimals for numbers that no other holds, if it holds them.
    fn wide(&mut self, numbers: &Numbers, odd: u64, of_which: &str, keywords: &mut Keywords) {
        let evidence = format!("{} of {} are {of_which}", grouped(odd), grouped(numbers.count()));
        let Some((precision, scale)) = decimal_for(numbers) else {
            let alternative = "have the producer write strings";
            self.find(Doubt::Digits, "no column holds all of them: those are dead letters", evidence, alternative);
            return;
        };
        keywords.insert("format".to_owned(), json!("decimal"));
        keywords.insert("precision".to_owned(), json!(precision));
        keywords.insert("scale".to_owned(), json!(scale));
        let chosen = format!("a decimal of {precision} digits, {scale} behind the point");
        self.find(Doubt::Digits, chosen, evidence, "without format: those are dead letters");
    }

    fn range(&mut self, numbers: &Numbers, least: Bound, greatest: Bound, keywords: &mut Keywords) {
        let (Some(least), Some(greatest)) = (least.number(), greatest.number()) else { return };
        let seen = format!("{} to {} in {}", grouped(&least), grouped(&greatest), grouped(numbers.count()));
        if self.options.strict {
            keywords.insert("minimum".to_owned(), Json::Number(least));
            keywords.insert("maximum".to_owned(), Json::Number(greatest));
            self.find(Doubt::Range, "no other than those seen", seen, "without minimum and maximum");
        } else {
            self.find(Doubt::Range, "of any size", seen, "minimum and maximum (--strict): others are dead letters");
        }
    }

    fn sensitive_text(&mut self, texts: &Texts, name: &str) -> bool {
        self.sensitive(personal_text(texts), name)
    }

    fn sensitive_number(&mut self, numbers: &Numbers, name: &str) -> bool {
        self.sensitive(personal_number(numbers), name)
    }

    fn sensitive(&mut self, told: Option<String>, name: &str) -> bool {
        let named = || personal::is_personal_name(name).then(|| "its name says so".to_owned());
        let Some(evidence) = told.or_else(named) else { return false };
        let alternative = format!("\"{SENSITIVE}\": true, which masks it in dead letters");
        self.find(Doubt::Sensitive, "for everybody to see, though it looks personal or secret", evidence, alternative);
        true
    }
}

/// The digits of a decimal that holds all of `numbers`, and how many of them are behind the point.
pub(in crate::schema::infer) fn decimal_for(numbers: &Numbers) -> Option<(u32, u32)> {
    let scale = numbers.scale;
    // What is within 64 bits, signed or not, has at most 20 digits.
    let precision = if numbers.fractions == 0 { 20 } else { DECIMAL_DIGITS_MAX };
    (numbers.whole_digits.saturating_add(scale) <= DECIMAL_DIGITS_MAX).then_some((precision, scale))
}

/// Why strings look as if they were about a person.
pub(in crate::schema::infer) fn personal_text(texts: &Texts) -> Option<String> {
    let emails = texts.fits(Format::Email);
    let filled = texts.count - texts.empty;
    let cards = if are_cards(texts.cards, filled) { texts.cards } else { 0 };
    let known = [(emails, "addresses of e-mail"), (texts.ibans, "IBANs"), (cards, "numbers of cards")];
    let told = known.iter().find(|(count, _)| *count > 0);
    told.map(|(count, what)| format!("{} of {} look like {what}", grouped(*count), grouped(filled)))
}

/// The same of numbers.
pub(in crate::schema::infer) fn personal_number(numbers: &Numbers) -> Option<String> {
    let (cards, all) = (numbers.cards, numbers.count());
    are_cards(cards, all).then(|| format!("{} of {} look like numbers of cards", grouped(cards), grouped(all)))
}

fn are_cards(cards: u64, all: u64) -> bool {
    cards >= CARDS_MIN && cards * 10 >= all * CARDS_IN_TEN_MIN
}
