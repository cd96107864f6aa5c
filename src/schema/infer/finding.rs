//! What a proposal chose where the samples leave a choice.

use std::fmt;

/// One choice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, as issues name places: `[*]` for elements, `{*}` for names that are not declared; empty for the event.
    pub path: String,
    pub doubt: Doubt,
    /// What the schema says now.
    pub chosen: String,
    /// What speaks for it, and what against.
    pub evidence: String,
    /// What else it could say, and what would come of that.
    pub alternative: String,
}

/// What a choice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Whether there are enough samples at all.
    Samples,
    /// Which types.
    Types,
    /// Whether null is one of them.
    Null,
    /// Whether a field is required.
    Required,
    /// Whether an object has other fields.
    Closed,
    /// Whether names are fields, or values themselves.
    Map,
    /// Which format.
    Format,
    /// What holds a number without losing digits.
    Digits,
    /// Whether the values seen are all there are.
    Enumeration,
    /// Whether numbers may go beyond those seen.
    Range,
    /// Whether everybody may see it.
    Sensitive,
    /// What was not looked at.
    Limit,
}

impl Doubt {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Doubt::Samples => "samples",
            Doubt::Types => "types",
            Doubt::Null => "null",
            Doubt::Required => "required",
            Doubt::Closed => "closed",
            Doubt::Map => "map",
            Doubt::Format => "format",
            Doubt::Digits => "digits",
            Doubt::Enumeration => "enumeration",
            Doubt::Range => "range",
            Doubt::Sensitive => "sensitive",
            Doubt::Limit => "limit",
        }
    }
}

/// One line for people.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, chosen, evidence, alternative, .. } = self;
        let place = if path.is_empty() { "the event" } else { path };
        write!(f, "{place}: {chosen}; {evidence}")?;
        if alternative.is_empty() { Ok(()) } else { write!(f, "; else {alternative}") }
    }
}

/// `count` with its thousands apart.
pub(super) fn grouped(count: impl fmt::Display) -> String {
    let text = count.to_string();
    let (sign, digits) = if let Some(digits) = text.strip_prefix('-') { ("-", digits) } else { ("", text.as_str()) };
    let whole = digits.find(['.', 'e']).unwrap_or(digits.len());
    let mut grouped = sign.to_owned();
    for (at, digit) in digits[..whole].char_indices() {
        if at > 0 && (whole - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &digits[whole..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, expected) in [(0.0, "0"), (999.0, "999"), (-1000.0, "-1,000"), (27004.25, "27,004.25")] {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(grouped(i64::MIN), "-9,223,372,036,854,775,808");
    }
}
