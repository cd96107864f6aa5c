//! Text on its way to a terminal.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

pub(super) use crate::dlq::line::exactly;

/// `text` without what a terminal would obey: control characters and marks that turn its direction are escaped.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    escape(text, is_commanding)
}

/// As [`clean`], but keeps the lines and tabs of a longer text.
pub(super) fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_commanding(c) && !matches!(c, '\n' | '\t'))
}

fn is_commanding(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean.into()
}

/// For tables, whose head says UTC: `2013-01-31 10:15:00`.
pub(super) fn seconds(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shown_can_command_a_terminal() {
        assert_eq!(clean("plain é ✓"), "plain é ✓");
        assert_eq!(clean("a\u{1b}[2Jb\r\n\u{202e}"), "a\\u{1b}[2Jb\\r\\n\\u{202e}");
        assert_eq!(clean_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    }
}
