//! What has been seen of numbers at one place: how they are written, and what it takes to hold them.

use std::cmp::Ordering;

use serde_json::Number;

use crate::personal;
use crate::value::{Node, Value};

/// Numbers of one place. A function of the numbers alone, whatever their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// Written as integers, `-0` among them.
    pub(super) integers: u64,
    /// Of those: beyond `i64`, within `u64`.
    pub(super) big: u64,
    /// Written with a point or an exponent.
    pub(super) fractions: u64,
    /// Of those: whole all the same, such as `10.0`.
    pub(super) whole: u64,
    /// Those that a double does not hold to the last digit.
    pub(super) lossy: u64,
    /// The most digits before the point, and behind it, of what counts.
    pub(super) whole_digits: u32,
    pub(super) scale: u32,
    pub(super) range: Option<(Bound, Bound)>,
    /// Those with the length and the check digit of a card's number.
    pub(super) cards: u64,
}

/// An end of a range. Whole numbers are always the former, so that equal ones are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    Whole(i128),
    Fraction(f64),
}

/// Whole doubles up to here are made integers, exactly.
const WHOLE_MAX: f64 = 1e38;

/// All integers up to here are doubles.
const EXACT_MAX: u128 = 1 << f64::MANTISSA_DIGITS;

impl Numbers {
    /// Counts `value`, if it is a number.
    pub(super) fn observe(&mut self, value: Value<'_>) {
        match value.node() {
            Node::I64(number) => self.integer(number.into()),
            Node::U64(number) => {
                self.big += 1;
                self.integer(number.into());
            }
            Node::F64 { value: number, .. } => match value.number_text() {
                Some(text) => self.float(number, text),
                // A binary format gives only the double: its shortest text is what it stands for.
                None => self.float(number, &format!("{number:e}")),
            },
            _ => {}
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.integers + self.fractions
    }

    pub(super) fn merge(&mut self, other: Self) {
        let Self { integers, big, fractions, whole, lossy, whole_digits, scale, range, cards } = other;
        self.integers += integers;
        self.big += big;
        self.fractions += fractions;
        self.whole += whole;
        self.lossy += lossy;
        self.whole_digits = self.whole_digits.max(whole_digits);
        self.scale = self.scale.max(scale);
        self.cards += cards;
        if let Some((least, greatest)) = range {
            self.widen(least);
            self.widen(greatest);
        }
    }

    fn integer(&mut self, number: i128) {
        self.integers += 1;
        self.lossy += u64::from(number.unsigned_abs() > EXACT_MAX && (number as f64) as i128 != number);
        self.whole_digits = self.whole_digits.max(number.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1));
        self.cards += u64::from(u64::try_from(number).is_ok_and(|number| personal::is_card(&number.to_string())));
        self.widen(Bound::Whole(number));
    }

    fn float(&mut self, number: f64, text: &str) {
        let (digits, exponent) = significant(text);
        // Decoders refuse integers beyond 64 bits: `-0` is the only one that they make a double.
        if text == "-0" {
            self.integers += 1;
        } else {
            self.fractions += 1;
            self.whole += u64::from(exponent >= 0);
        }
        self.lossy += u64::from(!prints_as(number, &digits, exponent));
        let behind = u32::try_from(exponent.saturating_neg().max(0)).unwrap_or(u32::MAX);
        let before = exponent.saturating_add(i64::try_from(digits.len()).unwrap_or(i64::MAX)).max(1);
        self.scale = self.scale.max(behind);
        self.whole_digits = self.whole_digits.max(u32::try_from(before).unwrap_or(u32::MAX));
        self.widen(Bound::of(number));
    }

    fn widen(&mut self, bound: Bound) {
        let (least, greatest) = self.range.get_or_insert((bound, bound));
        if bound.compare(*least).is_lt() {
            *least = bound;
        }
        if bound.compare(*greatest).is_gt() {
            *greatest = bound;
        }
    }
}

impl Bound {
    fn of(number: f64) -> Self {
        let is_whole = number.fract() == 0.0 && number.abs() < WHOLE_MAX;
        if is_whole { Bound::Whole(number as i128) } else { Bound::Fraction(number) }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Bound::Whole(one), Bound::Whole(two)) => one.cmp(&two),
            (Bound::Fraction(one), Bound::Fraction(two)) => one.total_cmp(&two),
            (Bound::Whole(one), Bound::Fraction(two)) => whole_to_fraction(one, two),
            (Bound::Fraction(one), Bound::Whole(two)) => whole_to_fraction(two, one).reverse(),
        }
    }

    /// As a number of JSON, which a validator compares as it does the value it was taken from.
    pub(super) fn number(self) -> Option<Number> {
        match self {
            Bound::Whole(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Some(number.into()),
                (_, Ok(number)) => Some(number.into()),
                // It came from a double.
                _ => Number::from_f64(number as f64),
            },
            Bound::Fraction(number) => Number::from_f64(number),
        }
    }
}

/// How `whole` stands to a double that has a fraction, or is larger than any whole bound.
fn whole_to_fraction(whole: i128, fraction: f64) -> Ordering {
    if fraction.abs() >= WHOLE_MAX {
        return if fraction > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    // The fraction is not zero: its floor decides.
    whole.cmp(&(fraction.floor() as i128)).then(Ordering::Less)
}

/// The digits of a number of JSON (RFC 8259, section 6) without zeros at either end, and the power of ten of the last one.
pub(super) fn significant(text: &str) -> (String, i64) {
    /// Far beyond any number that could fit; so sums do not overflow.
    const EXPONENT_MAX: i64 = 1 << 40;
    let unsigned = text.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let size = exponent.trim_start_matches(['+', '-']).bytes();
    let size = size.fold(0, |size: i64, byte| (size * 10 + i64::from(byte.wrapping_sub(b'0'))).min(EXPONENT_MAX));
    let exponent = if exponent.starts_with('-') { -size } else { size };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let digits = kept.trim_start_matches('0');
    if digits.is_empty() {
        return (String::new(), 0);
    }
    let point = i64::try_from(fraction.len()).unwrap_or(EXPONENT_MAX);
    let zeros = i64::try_from(all.len() - kept.len()).unwrap_or(EXPONENT_MAX);
    (digits.to_owned(), exponent - point + zeros)
}

/// Whether `number`, printed to as many digits, has these.
fn prints_as(number: f64, digits: &str, exponent: i64) -> bool {
    if digits.is_empty() {
        return number == 0.0;
    }
    // Any number of so many digits comes back from a double.
    if digits.len() <= f64::DIGITS as usize && number.is_normal() {
        return true;
    }
    let (printed, at) = significant(&format!("{:.*e}", digits.len() - 1, number.abs()));
    (printed.as_str(), at) == (digits, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_count_are_found_however_a_number_is_written() {
        for (text, digits, exponent) in [
            ("0", "", 0),
            ("-0.00", "", 0),
            ("120", "12", 1),
            ("-1.50e3", "15", 2),
            ("0.0025", "25", -4),
            ("1E-7", "1", -7),
            ("100.0", "1", 2),
        ] {
            assert_eq!(significant(text), (digits.to_owned(), exponent), "{text}");
        }
    }

    #[test]
    fn a_double_that_loses_digits_is_told_from_one_that_does_not() {
        let is_kept = |text: &str| {
            let (digits, exponent) = significant(text);
            prints_as(text.parse().expect("a number"), &digits, exponent)
        };
        assert!(is_kept("0.1") && is_kept("123456789.012345") && is_kept("0.30000000000000004") && is_kept("1e300"));
        assert!(
            !is_kept("0.1000000000000000055")
                && !is_kept("12345678901234567890.5")
                && !is_kept("123456789012345678901")
        );
    }

    #[test]
    fn bounds_are_compared_exactly() {
        let whole = |number: i128| Bound::Whole(number);
        assert_eq!(Bound::of(9_007_199_254_740_992.0), whole(9_007_199_254_740_992));
        assert!(whole(9_007_199_254_740_993).compare(Bound::of(9_007_199_254_740_992.0)).is_gt());
        assert!(whole(2).compare(Bound::of(2.5)).is_lt() && whole(3).compare(Bound::of(2.5)).is_gt());
        assert!(whole(-2).compare(Bound::of(-2.5)).is_gt() && whole(-3).compare(Bound::of(-2.5)).is_lt());
        assert!(
            Bound::of(1e300).compare(whole(i128::MAX)).is_gt() && Bound::of(-1e300).compare(whole(i128::MIN)).is_lt()
        );
        assert_eq!(Bound::of(-0.0), whole(0));
    }
}
