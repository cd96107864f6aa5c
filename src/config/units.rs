//! Durations and sizes as people write them: a whole number and its unit, `60s`, `64MiB`.

use std::time::Duration;

/// Units of duration with their milliseconds, largest first.
const DURATIONS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size with their bytes, largest first.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Spans that rates are given for, with how often a day has them, shortest first.
const RATES: &[(&str, u64)] = &[("/s", 86_400), ("/m", 1_440), ("/h", 24), ("/d", 1)];

/// What a duration and a size look like, as regular expressions for editors.
pub(super) const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";
pub(super) const SIZE_PATTERN: &str = "^[0-9]+([kKMGT]?B|[KMGT]iB)$";

pub(super) const RATE_PATTERN: &str = "^[0-9]+/[smhd]$";

/// Reads `100/s`, `5/m`, `1/h` or `10/d` as how many that is a day; `None` for anything else.
pub(super) fn rate(text: &str) -> Option<u64> {
    read(text, RATES)
}

/// `per_day` by the shortest span that divides it.
pub(super) fn show_rate(per_day: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| per_day >= *factor && per_day.is_multiple_of(*factor);
    RATES.iter().find(fits).map_or_else(|| "0/s".to_owned(), |(unit, factor)| format!("{}{unit}", per_day / factor))
}

/// Reads `200ms`, `60s`, `5m`, `1h` or `7d`; `None` for anything else.
pub(super) fn duration(text: &str) -> Option<Duration> {
    read(text, DURATIONS).map(Duration::from_millis)
}

/// Reads `512B`, `64MiB` (1,048,576 bytes each) or `1GB` (1,000,000,000) as bytes; `None` for anything else.
pub fn size(text: &str) -> Option<u64> {
    read(text, SIZES)
}

/// `duration` in the largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS)
}

/// `bytes` in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, SIZES)
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => format!("0{}", if units.len() == DURATIONS.len() { "s" } else { "B" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_whole_numbers_with_a_known_unit() {
        for (text, milliseconds) in [("200ms", 200), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, bytes) in [("64MiB", 64 << 20), ("1GB", 1_000_000_000), ("512B", 512), ("2KiB", 2048)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "60", "s", "1.5h", "-1s", "1 s", "1S", "1min", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "64", "64mb", "64M", "MiB", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0s", "200ms", "90s", "5m", "7d"] {
            assert_eq!(show_duration(duration(text).expect(text)), text);
        }
        for text in ["0/s", "100/s", "5/m", "1/h", "10/d"] {
            assert_eq!(show_rate(rate(text).expect(text)), text);
        }
        for text in ["", "1", "1/", "/s", "1.5/s", "1/ms", "1 /s", "1/w"] {
            assert_eq!(rate(text), None, "{text}");
        }
        for text in ["0B", "1500B", "64MiB", "1GB"] {
            assert_eq!(show_size(size(text).expect(text)), text);
        }
    }
}
