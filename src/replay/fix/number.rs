//! Arithmetic on numbers as they are written: decimal and exact, whatever their length.

/// Zeros that a number may get when an exponent is written out; beyond them the exponent stays.
const ZEROS_MAX: i64 = 40;
/// Exponents beyond these are no number that anybody meant.
const EXPONENT_MAX: i64 = 1 << 40;

/// Digits times a power of ten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// From 0 to 9 each, the greatest first, without zeros at either end; none for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// The number written as `text` (RFC 8259, section 6); `None` if it is none, or its exponent is absurd.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], read_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        let exponent = exponent - i64::try_from(fraction.len()).ok()?;
        Some(Self::normal(text.starts_with('-'), digits, exponent))
    }

    fn normal(negative: bool, mut digits: Vec<u8>, mut exponent: i64) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        match digits.is_empty() {
            true => Self { negative: false, digits, exponent: 0 },
            false => Self { negative, digits, exponent },
        }
    }

    pub(super) fn from_integer(integer: i128) -> Self {
        let digits = integer.unsigned_abs().to_string().bytes().map(|byte| byte - b'0').collect();
        Self::normal(integer < 0, digits, 0)
    }

    /// Whether it has no fraction.
    pub(super) fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// The product, exactly.
    pub(super) fn times(&self, other: &Self) -> Self {
        let mut sums = vec![0_u64; self.digits.len() + other.digits.len()];
        for (i, left) in self.digits.iter().rev().enumerate() {
            let mut carry = 0;
            for (j, right) in other.digits.iter().rev().enumerate() {
                let sum = sums[i + j] + u64::from(*left) * u64::from(*right) + carry;
                sums[i + j] = sum % 10;
                carry = sum / 10;
            }
            sums[i + other.digits.len()] += carry;
        }
        let digits = sums.iter().rev().map(|digit| *digit as u8).collect();
        Self::normal(self.negative != other.negative, digits, self.exponent + other.exponent)
    }

    /// Ten to the power of `exponent` times it.
    pub(super) fn shifted(mut self, exponent: i64) -> Self {
        if !self.digits.is_empty() {
            self.exponent += exponent;
        }
        self
    }

    /// The integer that it is; `None` if it has a fraction or does not fit.
    pub(super) fn integer(&self) -> Option<i128> {
        if !self.is_integer() || self.digits.len() as i64 + self.exponent > 38 {
            return None;
        }
        let digits =
            self.digits.iter().try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add((*digit).into()))?;
        let power = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let magnitude = digits.checked_mul(power)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// It as JSON text: digits written out where that takes no more than 40 zeros, else with an exponent.
    pub(super) fn text(&self) -> String {
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let sign = if self.negative { "-" } else { "" };
        let length = self.digits.len() as i64;
        let point = length + self.exponent;
        if digits.is_empty() {
            "0".to_owned()
        } else if (0..=ZEROS_MAX).contains(&self.exponent) {
            format!("{sign}{digits}{}", "0".repeat(self.exponent as usize))
        } else if point > 0 && self.exponent < 0 {
            format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..])
        } else if (-ZEROS_MAX..=0).contains(&point) {
            format!("{sign}0.{}{digits}", "0".repeat(-point as usize))
        } else if length == 1 {
            format!("{sign}{digits}e{}", point - 1)
        } else {
            format!("{sign}{}.{}e{}", &digits[..1], &digits[1..], point - 1)
        }
    }

    /// It as an integer written out; `None` if it has a fraction, or more zeros behind it than anybody writes.
    pub(super) fn integer_text(&self) -> Option<String> {
        (0..=ZEROS_MAX).contains(&self.exponent).then(|| self.text())
    }
}

/// Whether `text` is a number as JSON writes it (RFC 8259, section 6), its exponent however large.
pub(super) fn is_written(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Decimal::parse(mantissa).is_some()
        && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.bytes().fold(0_i64, |size, byte| (size * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX));
    (size < EXPONENT_MAX).then_some(if text.starts_with('-') { -size } else { size })
}

/// Whether two numbers are the same number, however written.
pub(super) fn equal(left: &str, right: &str) -> bool {
    match (Decimal::parse(left), Decimal::parse(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// `text` as JSON writes the number, when it is one with `thousands` between groups of three digits and `point` before the
/// fraction.
pub(super) fn grouped(text: &str, thousands: char, point: char) -> Option<String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once(point) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let mut groups = whole.split(thousands);
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    if first.is_empty() || !rest.is_empty() && first.len() > 3 || rest.iter().any(|group| group.len() != 3) {
        return None;
    }
    let mut number = if text.starts_with('-') { "-".to_owned() } else { String::new() };
    number.push_str(first);
    number.extend(rest);
    if let Some(fraction) = fraction {
        number.push('.');
        number.push_str(fraction);
    }
    // Also: only digits, no exponent, no zeros in front.
    (!number.contains(['e', 'E', '+']) && Decimal::parse(&number).is_some()).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(left: &str, right: &str) -> String {
        Decimal::parse(left).expect("a number").times(&Decimal::parse(right).expect("a number")).text()
    }

    #[test]
    fn products_are_exact_and_written_out() {
        for (left, right, product) in [
            ("1050", "0.01", "10.5"),
            ("1000", "0.01", "10"),
            ("0.1", "3", "0.3"),
            ("-1.5", "-1.5", "2.25"),
            ("0", "-5", "0"),
            ("9007199254740993", "0.001", "9007199254740.993"),
            (
                "123456789012345678901234567890",
                "1.000000000000000000000000000001",
                "123456789012345678901234567890.12345678901234567890123456789",
            ),
            ("1e300", "10", "1e301"),
            ("1.25e-300", "10", "1.25e-299"),
            ("5e-40", "1", "0.0000000000000000000000000000000000000005"),
        ] {
            assert_eq!(times(left, right), product, "{left} times {right}");
        }
    }

    #[test]
    fn integers_are_those_without_a_fraction() {
        let integer = |text| Decimal::parse(text).expect("a number").integer_text();
        for (text, expected) in
            [("1.0", Some("1")), ("1e3", Some("1000")), ("-1500e-2", Some("-15")), ("1.7", None), ("1e300", None)]
        {
            assert_eq!(integer(text).as_deref(), expected, "{text}");
        }
        assert_eq!(Decimal::parse("-12e3").expect("a number").integer(), Some(-12_000));
        assert_eq!(Decimal::parse("1e39").expect("a number").integer(), None);
        assert_eq!(Decimal::from_integer(-120).text(), "-120");
    }

    #[test]
    fn what_json_does_not_write_is_no_number() {
        for text in ["", "-", "01", "+1", "1.", ".5", "1e", " 1", "1 ", "0x1", "NaN", "1,5", "1e99999999999999999999"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_the_same_however_written() {
        assert!(equal("1.50", "15e-1") && equal("-0", "0.0") && equal("1e2", "100"));
        assert!(!equal("9007199254740993", "9007199254740992") && !equal("1", "-1"));
    }

    #[test]
    fn groups_of_digits_have_three_of_them() {
        for (text, expected) in [
            ("1,234.5", Some("1234.5")),
            ("-12,345,678", Some("-12345678")),
            ("1234.50", Some("1234.50")),
            ("0.5", Some("0.5")),
            ("1,23", None),
            ("1234,567", None),
            (",123", None),
            ("1,234,", None),
            ("0,123", None),
            ("1.234,5", None),
            ("1e3", None),
            ("", None),
        ] {
            assert_eq!(grouped(text, ',', '.').as_deref(), expected, "{text:?}");
        }
        assert_eq!(grouped("1.234,50", '.', ',').as_deref(), Some("1234.50"));
    }

    proptest! {
        #[test]
        fn small_products_are_those_of_integers(left in any::<i32>(), right in any::<i32>(), shift in -9_i64..9) {
            let product = Decimal::from_integer(left.into()).times(&Decimal::from_integer(right.into()).shifted(shift));
            let expected = Decimal::from_integer(i128::from(left) * i128::from(right)).shifted(shift);
            prop_assert_eq!(&product, &expected);
            prop_assert_eq!(Decimal::parse(&product.text()), Some(expected));
        }

        #[test]
        fn a_number_is_its_own_text(text in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?") {
            let number = Decimal::parse(&text).expect("a number");
            prop_assert!(equal(&text, &number.text()), "{} is written {}", text, number.text());
        }
    }
}
