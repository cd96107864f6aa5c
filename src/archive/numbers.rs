//! Numbers into columns without losing a digit.

use crate::value::{Node, Value};

/// Why a number does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is no number.
    Type,
    /// It has a fraction, or digits, that the column has no room for.
    Inexact,
    /// It is too large.
    Range,
}

/// The digits of a decimal number: `digits` times ten to the power of `exponent`, without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: i128,
    exponent: i64,
}

/// The most digits an `i128` holds for sure; a Decimal128 holds as many.
const DIGITS_MAX: u32 = 38;

/// `value`, a number or a string that holds one, times ten to the power of `scale`.
///
/// # Errors
/// See [`Misfit`]; a result beyond 38 digits is out of range.
pub(super) fn scaled(value: Value<'_>, scale: u32) -> Result<i128, Misfit> {
    match value.node() {
        Node::I64(number) => i128::from(number).checked_mul(power_of_ten(scale)).ok_or(Misfit::Range),
        Node::U64(number) => i128::from(number).checked_mul(power_of_ten(scale)).ok_or(Misfit::Range),
        Node::F64 { value: number, .. } => match value.number_text() {
            Some(text) => scaled_text(text, scale),
            // A binary format gives only the double: its shortest text is what it stands for.
            None => scaled_text(&format!("{number:e}"), scale),
        },
        Node::Str(text) => scaled_text(text, scale),
        _ => Err(Misfit::Type),
    }
}

/// The whole number `value`.
///
/// # Errors
/// [`Misfit::Inexact`]: it has a fraction.
pub(super) fn integer(value: Value<'_>) -> Result<i64, Misfit> {
    match value.node() {
        Node::I64(number) => Ok(number),
        Node::U64(_) => Err(Misfit::Range),
        Node::F64 { .. } => i64::try_from(scaled(value, 0)?).map_err(|_| Misfit::Range),
        _ => Err(Misfit::Type),
    }
}

/// `value` as a double that stands for all its digits: an integer must be it exactly, and of a number with a fraction or an
/// exponent, the double printed to as many digits must read the same.
///
/// # Errors
/// [`Misfit::Inexact`]: digits would be lost.
pub(super) fn double(value: Value<'_>) -> Result<f64, Misfit> {
    /// All integers up to here are doubles.
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    /// Any number of this many digits comes back from a double; so does one of as many characters, but for the point.
    const DIGITS_SAFE: usize = f64::DIGITS as usize;
    match value.node() {
        Node::I64(number) if number.unsigned_abs() <= EXACT_MAX => Ok(number as f64),
        Node::I64(number) => exact_double(i128::from(number)),
        Node::U64(number) => exact_double(i128::from(number)),
        Node::F64 { value: number, .. } => match value.number_text() {
            Some(text) if (text.len() > DIGITS_SAFE || !number.is_normal()) && !prints_as(number, text) => {
                Err(Misfit::Inexact)
            }
            _ => Ok(number),
        },
        _ => Err(Misfit::Type),
    }
}

fn exact_double(number: i128) -> Result<f64, Misfit> {
    let double = number as f64;
    if double as i128 == number { Ok(double) } else { Err(Misfit::Inexact) }
}

/// Whether `number`, printed to as many digits as `text` has, has the digits of `text`.
fn prints_as(number: f64, text: &str) -> bool {
    let Some((digits, exponent)) = significant(text) else { return false };
    if digits.is_empty() || number == 0.0 {
        return digits.is_empty() && number == 0.0;
    }
    let print = |more: usize| significant(&format!("{:.*e}", digits.len() - 1 + more, number.abs()));
    let known = Some((digits.clone(), exponent));
    print(0) == known || is_tie(known, print(1), print(20))
}

/// Whether `text` is one of the two that are equally near to a double which, printed to one digit more, is exactly
/// `longer`: it then ends in 5. Printers differ in which they choose.
fn is_tie(text: Option<(String, i64)>, longer: Option<(String, i64)>, exact: Option<(String, i64)>) -> bool {
    let (Some((text, at)), Some((longer, below))) = (text, longer.filter(|longer| exact.as_ref() == Some(longer)))
    else {
        return false;
    };
    match (text.parse::<i128>(), longer.parse::<i128>()) {
        (Ok(text), Ok(longer)) if below == at - 1 => {
            text.checked_mul(10).is_some_and(|text| (text - longer).abs() == 5)
        }
        _ => false,
    }
}

/// The digits of a number's text without zeros at either end, and the power of ten of the last one.
fn significant(text: &str) -> Option<(String, i64)> {
    let mut digits = String::new();
    let mut zeros = 0_usize;
    let exponent = walk(text, |digit| {
        if digit == 0 {
            zeros += usize::from(!digits.is_empty());
        } else {
            digits.extend(std::iter::repeat_n('0', std::mem::take(&mut zeros)));
            digits.push(char::from(b'0' + digit));
        }
    })?;
    let zeros = i64::try_from(zeros).ok()?;
    Some(if digits.is_empty() { (digits, 0) } else { (digits, exponent.saturating_add(zeros)) })
}

fn scaled_text(text: &str, scale: u32) -> Result<i128, Misfit> {
    let Decimal { digits, exponent } = parse(text)?;
    if digits == 0 {
        return Ok(0);
    }
    let shift = exponent.saturating_add(i64::from(scale));
    let shift = u32::try_from(shift).map_err(|_| if shift < 0 { Misfit::Inexact } else { Misfit::Range })?;
    if shift > DIGITS_MAX {
        return Err(Misfit::Range);
    }
    digits.checked_mul(power_of_ten(shift)).ok_or(Misfit::Range)
}

/// Reads a number as JSON writes it.
fn parse(text: &str) -> Result<Decimal, Misfit> {
    let mut digits = Some(0_i128);
    let mut zeros = 0_u32;
    let exponent = walk(text, |digit| {
        if digit == 0 {
            zeros = zeros.saturating_add(1);
        } else {
            let power = 10_i128.checked_pow(zeros.saturating_add(1));
            digits = digits.and_then(|known| {
                if known == 0 { Some(0) } else { known.checked_mul(power?) }?.checked_add(i128::from(digit))
            });
            zeros = 0;
        }
    })
    .ok_or(Misfit::Type)?;
    // More than 38 digits that count: no column has room for them.
    let digits = digits.ok_or(Misfit::Range)?;
    let digits = if text.starts_with('-') { -digits } else { digits };
    Ok(Decimal { digits, exponent: exponent.saturating_add(i64::from(zeros)) })
}

/// Calls `each` for every digit before the exponent, and gives the power of ten of the last one; `None` if `text` is not a
/// number as JSON writes it (RFC 8259, section 6).
fn walk(text: &str, mut each: impl FnMut(u8)) -> Option<i64> {
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
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        each(byte - b'0');
    }
    Some(exponent - i64::try_from(fraction.len()).ok()?)
}

fn read_exponent(text: &str) -> Option<i64> {
    /// Far beyond any number that could fit; so sums of exponents do not overflow.
    const LIMIT: i64 = 1 << 40;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.bytes().fold(0_i64, |size, byte| (size * 10 + i64::from(byte - b'0')).min(LIMIT));
    Some(if text.starts_with('-') { -size } else { size })
}

fn power_of_ten(exponent: u32) -> i128 {
    10_i128.checked_pow(exponent).expect("scales are at most 38, and ten to the 38th fits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Tape;

    /// The node a decoder makes of a number's text.
    fn with<T>(text: &str, each: impl FnOnce(Value<'_>) -> T) -> T {
        let node = if let Ok(number) = text.parse() {
            Node::I64(number)
        } else if let Ok(number) = text.parse() {
            Node::U64(number)
        } else {
            Node::F64 { value: text.parse().expect("a number"), at: 0, len: u32::try_from(text.len()).expect("short") }
        };
        each(Tape::new(vec![node], text.as_bytes()).root())
    }

    #[test]
    fn integers_are_those_without_a_fraction_however_written() {
        for (text, expected) in [
            ("1", Ok(1)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("1.0", Ok(1)),
            ("1e3", Ok(1000)),
            ("-1500e-2", Ok(-15)),
            ("-0.0", Ok(0)),
            ("9223372036854775807.0", Ok(i64::MAX)),
            ("0e999999999999999999999", Ok(0)),
            ("9223372036854775808", Err(Misfit::Range)),
            ("9223372036854775808.0", Err(Misfit::Range)),
            ("1e19", Err(Misfit::Range)),
            ("1e300", Err(Misfit::Range)),
            ("1.7", Err(Misfit::Inexact)),
            // A double does not see the fraction.
            ("1.00000000000000000001", Err(Misfit::Inexact)),
            ("1e-1", Err(Misfit::Inexact)),
        ] {
            assert_eq!(with(text, integer), expected, "{text}");
        }
    }

    #[test]
    fn doubles_stand_for_all_digits_or_are_refused() {
        for text in [
            "0",
            "0.1",
            "-0.0",
            "1e23",
            "0.30000000000000004",
            "0.10000000000000001",
            "1e-300",
            "5e-324",
            "123456789.25",
            "-1140855217682329.2",
            "-1140855217682329.3",
            "9007199254740992",
            "18446744073709549568",
            "0.1000000000000000055511151231257827",
            "100000000000000000000.0",
            "1.7976931348623157e308",
            "0.0000000000000000000000000000000",
        ] {
            assert_eq!(with(text, double), Ok(text.parse().expect("a number")), "{text}");
        }
        for text in [
            "9007199254740993",
            "18446744073709551615",
            "9007199254740993.0",
            "0.1234567890123456789",
            "1e-400",
            "-1140855217682329.1",
            "12345678901234567.5",
            "4e-324",
        ] {
            assert_eq!(with(text, double), Err(Misfit::Inexact), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, expected) in [
            ("12.34", Ok(1234)),
            ("12.3400", Ok(1234)),
            ("-7", Ok(-700)),
            ("1.5e2", Ok(15_000)),
            ("0.001", Err(Misfit::Inexact)),
            ("1e37", Err(Misfit::Range)),
            ("123456789012345678901234567890123456789.5", Err(Misfit::Range)),
        ] {
            assert_eq!(with(text, |value| scaled(value, 2)), expected, "{text}");
        }
        for (text, expected) in [
            ("12.30", Ok(1230)),
            ("", Err(Misfit::Type)),
            ("12,3", Err(Misfit::Type)),
            ("+1", Err(Misfit::Type)),
            (" 1", Err(Misfit::Type)),
            ("1.", Err(Misfit::Type)),
            (".5", Err(Misfit::Type)),
            ("01", Err(Misfit::Type)),
            ("1e", Err(Misfit::Type)),
        ] {
            let tape = Tape::new(vec![Node::Str(text)], b"");
            assert_eq!(scaled(tape.root(), 2), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_s_text_comes_back(digits in -10_i128.pow(30)..10_i128.pow(30), scale in 0_u32..8) {
            let power = 10_i128.pow(scale);
            let sign = if digits < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:0width$}", digits.abs() / power, digits.abs() % power, width = scale.max(1) as usize);
            let tape = Tape::new(vec![Node::Str(&text)], b"");
            prop_assert_eq!(scaled(tape.root(), scale), Ok(digits));
        }

        #[test]
        fn every_double_s_own_text_is_taken(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = format!("{number:e}");
            let node = Node::F64 { value: number, at: 0, len: u32::try_from(text.len()).expect("short") };
            let tape = Tape::new(vec![node], text.as_bytes());
            prop_assert_eq!(double(tape.root()).map(f64::to_bits), Ok(bits));
        }
    }
}
