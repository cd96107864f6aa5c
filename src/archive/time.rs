//! Times as the archive holds them: microseconds and days since 1970 in UTC, read from RFC 3339 text. No clock here.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Why text is no time of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// It is not written as RFC 3339 asks, or names a day or hour that does not exist.
    Unreadable,
    /// It is finer than a microsecond.
    TooFine,
    /// It is a leap second (`:60`), which no count of seconds since 1970 can tell from the next second.
    LeapSecond,
    /// In UTC it is before the year 1 or after 9999, which engines cannot show.
    OutOfRange,
}

/// Microseconds since 1970 of an RFC 3339 date-time (section 5.6; `t`, `z` and a blank for `T` allowed as there noted).
///
/// # Errors
/// See [`TimeError`]. Nothing is rounded.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    match parse_rfc3339_cut(text)? {
        (micros, false) => Ok(micros),
        (_, true) => Err(TimeError::TooFine),
    }
}

/// The same, cut to the microsecond, and whether something was cut.
///
/// # Errors
/// See [`TimeError`]; never [`TimeError::TooFine`].
pub fn parse_rfc3339_cut(text: &str) -> Result<(i64, bool), TimeError> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !matches!(bytes[10], b'T' | b't' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
        return Err(TimeError::Unreadable);
    }
    let day = read_day(bytes)?;
    let (hour, minute, second) = (pair(bytes, 11)?, pair(bytes, 14)?, pair(bytes, 17)?);
    if hour > 23 || minute > 59 || second > 60 {
        return Err(TimeError::Unreadable);
    }
    let (micros, is_cut, rest) = fraction(&bytes[19..])?;
    let offset = offset_minutes(rest)?;
    if second == 60 {
        return Err(TimeError::LeapSecond);
    }
    let minutes = hour * 60 + minute - offset;
    let time = day * DAY_US + (minutes * 60 + second) * 1_000_000 + micros;
    if is_in_range(time) { Ok((time, is_cut)) } else { Err(TimeError::OutOfRange) }
}

/// Days since 1970 of an RFC 3339 full-date.
///
/// # Errors
/// [`TimeError::Unreadable`], or [`TimeError::OutOfRange`] for the year 0.
pub fn parse_date(text: &str) -> Result<i32, TimeError> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 {
        return Err(TimeError::Unreadable);
    }
    let day = read_day(bytes)?;
    if !is_in_range(day * DAY_US) {
        return Err(TimeError::OutOfRange);
    }
    i32::try_from(day).map_err(|_| TimeError::OutOfRange)
}

/// Whether an instant lies in the years 1 to 9999.
pub fn is_in_range(micros: i64) -> bool {
    const FIRST: i64 = days_from_civil(1, 1, 1) * DAY_US;
    const AFTER_LAST: i64 = days_from_civil(10_000, 1, 1) * DAY_US;
    (FIRST..AFTER_LAST).contains(&micros)
}

/// Year, month, day and hour in UTC of an instant.
pub(super) fn civil(micros: i64) -> (i64, u8, u8, u8) {
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY_US));
    let hour = micros.rem_euclid(DAY_US) / 3_600_000_000;
    (year, month, day, u8::try_from(hour).expect("a day has 24 hours"))
}

/// Days since 1970 of `YYYY-MM-DD` at the start of `bytes`, which are at least ten.
fn read_day(bytes: &[u8]) -> Result<i64, TimeError> {
    let year = pair(bytes, 0)? * 100 + pair(bytes, 2)?;
    let (month, day) = (pair(bytes, 5)?, pair(bytes, 8)?);
    if bytes[4] != b'-' || bytes[7] != b'-' || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return Err(TimeError::Unreadable);
    }
    Ok(days_from_civil(year, month, day))
}

/// The two digits at `at`.
fn pair(bytes: &[u8], at: usize) -> Result<i64, TimeError> {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err(TimeError::Unreadable);
    }
    Ok(i64::from(tens) * 10 + i64::from(ones))
}

/// The whole microseconds of a fraction such as `.25`, whether there is more to it, and what follows it.
fn fraction(bytes: &[u8]) -> Result<(i64, bool, &[u8]), TimeError> {
    let Some(b'.') = bytes.first() else { return Ok((0, false, bytes)) };
    let digits = bytes[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(TimeError::Unreadable);
    }
    let (digits, rest) = bytes[1..].split_at(digits);
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    let finer = digits.iter().skip(6).any(|digit| *digit != b'0');
    Ok((micros, finer, rest))
}

/// The minutes by which `Z` or `+hh:mm`, which must be all of `bytes`, is ahead of UTC.
fn offset_minutes(bytes: &[u8]) -> Result<i64, TimeError> {
    match bytes {
        [b'Z' | b'z'] => Ok(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (pair(bytes, 1)?, pair(bytes, 4)?);
            if hours > 23 || minutes > 59 {
                return Err(TimeError::Unreadable);
            }
            let ahead = hours * 60 + minutes;
            Ok(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => Err(TimeError::Unreadable),
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Its inverse, from the same source.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |number: i64| u8::try_from(number).expect("months and days are small");
    (year, small(month), small(day))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, TimeZone, Timelike, Utc};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_are_read_in_utc_to_the_microsecond() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse_rfc3339("2013-01-01T10:15:00Z"), Ok(1_357_035_300_000_000));
        assert_eq!(parse_rfc3339("2013-01-01t11:15:00.5+01:00"), Ok(1_357_035_300_500_000));
        assert_eq!(parse_rfc3339("2013-01-01 04:45:00.000001000-05:30"), Ok(1_357_035_300_000_001));
        assert_eq!(parse_rfc3339("1969-12-31T23:59:59.999999Z"), Ok(-1));
    }

    #[test]
    fn nothing_is_rounded_or_wrapped() {
        assert_eq!(parse_rfc3339("2013-01-01T10:15:00.0000001Z"), Err(TimeError::TooFine));
        assert_eq!(parse_rfc3339("2016-12-31T23:59:60Z"), Err(TimeError::LeapSecond));
        assert_eq!(parse_rfc3339("0000-12-31T23:59:59Z"), Err(TimeError::OutOfRange));
        assert_eq!(parse_rfc3339("0001-01-01T00:00:00+00:01"), Err(TimeError::OutOfRange));
        assert_eq!(parse_rfc3339("9999-12-31T23:59:59-00:01"), Err(TimeError::OutOfRange));
        assert_eq!(parse_date("0000-01-01"), Err(TimeError::OutOfRange));
    }

    #[test]
    fn what_is_no_time_is_unreadable() {
        for text in [
            "",
            "2013-01-01",
            "2013-01-01T10:15:00",
            "2013-01-01T10:15Z",
            "2013-02-29T10:15:00Z",
            "2013-13-01T10:15:00Z",
            "2013-00-01T10:15:00Z",
            "2013-01-00T10:15:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T10:60:00Z",
            "2013-01-01T10:15:61Z",
            "2013-01-01T10:15:00.Z",
            "2013-01-01T10:15:00+0100",
            "2013-01-01T10:15:00+24:00",
            "2013-01-01T10:15:00Zx",
            "+013-01-01T10:15:00Z",
            "2013-01-01X10:15:00Z",
            "2013-01-01T10:15:00\u{ff3a}",
        ] {
            assert_eq!(parse_rfc3339(text), Err(TimeError::Unreadable), "{text}");
        }
        for text in ["", "2013-1-01", "2013-02-29", "2013-01-01Z", "20130101xx"] {
            assert_eq!(parse_date(text), Err(TimeError::Unreadable), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_read_as_chrono_reads_them(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000, offset in -1439_i32..=1439) {
            let zone = chrono::FixedOffset::east_opt(offset * 60).expect("less than a day");
            let time = zone.timestamp_micros(micros).single().expect("in chrono's range");
            prop_assume!((0..=9999).contains(&time.year()));
            let text = time.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(parse_rfc3339(&text), Ok(micros), "{}", text);
            let utc = time.with_timezone(&Utc);
            let expected = (i64::from(utc.year()), utc.month() as u8, utc.day() as u8, utc.hour() as u8);
            prop_assert_eq!(civil(micros), expected);
        }

        #[test]
        fn dates_read_as_chrono_reads_them(days in -719_162_i32..2_932_896) {
            let date = NaiveDate::from_epoch_days(days).expect("in chrono's range");
            prop_assert_eq!(parse_date(&date.to_string()), Ok(days));
        }

        #[test]
        fn any_text_is_judged_as_chrono_judges_it(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])",
        ) {
            let ours = parse_rfc3339(&text);
            match DateTime::parse_from_rfc3339(&text) {
                Ok(time) => match ours {
                    Ok(micros) => prop_assert_eq!(time.timestamp_micros(), micros),
                    Err(TimeError::TooFine) => prop_assert_ne!(time.timestamp_subsec_nanos() % 1_000, 0),
                    Err(TimeError::LeapSecond) => prop_assert!(text[17..19] == *"60"),
                    Err(TimeError::OutOfRange) => prop_assert!(!(1..=9999).contains(&time.with_timezone(&Utc).year())),
                    Err(TimeError::Unreadable) => prop_assert!(false, "chrono reads {}", text),
                },
                Err(_) => prop_assert!(ours.is_err(), "chrono does not read {}", text),
            }
        }
    }
}
