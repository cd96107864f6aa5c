//! The commented default configuration, made of the table of keys.

use super::keys::{Fallback, Key, Kind};
use super::raw::Root;
use super::read::Raw;

/// Longest line of the reference.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Parqueduct's configuration: every key, with its default and its unit.
#
# A line such as `#heartbeat = \"10s\"` is a key with its default: remove the `#` to change it. Where
# a key is not set by default, the value is an example. Unknown keys are errors.
#
# Durations are a whole number and ms, s, m, h or d: \"200ms\", \"60s\", \"7d\". Sizes are a whole number
# and B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024): \"64MiB\". Rates
# are a whole number and /s, /m, /h or /d: \"100/s\".
#
# In any text, ${NAME} stands for the environment variable NAME, which must be set; $${ is a plain ${.
# A secret (marked so below) can also be the content of a file: uri = { file = \"secrets/uri\" }.
# Secrets are never shown or logged.
#
# Relative paths are relative to the directory of this file.
#
# `parqueduct config reference` prints this text, `parqueduct check --config FILE` checks a file, and
# `parqueduct config schema` prints a JSON Schema for editors.
";

/// The commented default configuration: every key, its default and its unit. It is itself a configuration that loads,
/// with one pipeline as an example.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for section in Root::KIND.keys() {
        let list = matches!(section.kind, Kind::List(_));
        let header = if list { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        text.push('\n');
        comment(&mut text, &section.doc_text());
        text.push_str(&format!("{header}\n"));
        for key in section.kind.keys_within() {
            text.push('\n');
            comment(&mut text, &key.doc_text());
            items(&mut text, key, 1);
            if !plain(key) {
                comment(&mut text, &particulars(key));
            }
            let needed = matches!(key.fallback, Fallback::Required(_) | Fallback::Expected(_));
            let mark = if needed { "" } else { "#" };
            text.push_str(&format!("{mark}{} = {}\n", key.name, value(key)));
        }
    }
    text
}

/// The value shown: the default, or the example.
fn value(key: &Key) -> String {
    match key.kind {
        Kind::Section(inner) => {
            let entries: Vec<_> = inner.iter().map(|key| format!("{} = {}", key.name, value(key))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        _ => key.fallback.text().to_owned(),
    }
}

/// The value shown says all there is to say.
fn plain(key: &Key) -> bool {
    let evident = matches!(key.kind, Kind::Flag | Kind::Text | Kind::List(Kind::Text) | Kind::Section(_));
    evident && key.only.is_empty() && matches!(key.fallback, Fallback::Default(_))
}

/// One sentence: what kind of value, between what, for which stores, and whether it is needed.
fn particulars(key: &Key) -> String {
    let mut sentence = match key.kind {
        Kind::Flag => "true or false".to_owned(),
        Kind::Integer => "Whole number".to_owned(),
        Kind::Ratio => "Ratio".to_owned(),
        Kind::Duration => "Duration".to_owned(),
        Kind::Number => "Number".to_owned(),
        Kind::Rate => "Rate".to_owned(),
        Kind::Size => "Size".to_owned(),
        Kind::Text => "Text".to_owned(),
        Kind::Secret => "Text; secret".to_owned(),
        Kind::Path => "Path".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "),
        Kind::List(Kind::Section(_)) => "List of tables".to_owned(),
        Kind::List(Kind::Secret) => "List of text; secret".to_owned(),
        Kind::List(Kind::Word(words)) => {
            format!("List of {}", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
        }
        Kind::List(_) => "List of text".to_owned(),
        Kind::Section(_) => "Table".to_owned(),
    };
    if let Some(bounds) = key.bounds {
        sentence.push_str(&format!(", {} to {}", bounds.least.trim_matches('"'), bounds.greatest.trim_matches('"')));
        if let Some(because) = bounds.because {
            sentence.push_str(&format!(" ({because})"));
        }
    }
    if !key.only.is_empty() {
        let kinds = key.only.iter().map(|kind| format!("{kind}://")).collect::<Vec<_>>().join(", ");
        sentence.push_str(&format!("; only for {kinds}"));
    }
    match key.fallback {
        Fallback::Required(_) | Fallback::Expected(_) => sentence.push_str("; required"),
        Fallback::Unset(_) => sentence.push_str("; not set by default"),
        Fallback::Default(_) => {}
    }
    sentence.push('.');
    sentence
}

fn comment(text: &mut String, paragraph: &str) {
    wrap(text, "# ", "# ", paragraph);
}

/// The keys within a key, and those within them.
fn items(text: &mut String, key: &Key, depth: usize) {
    let indent = format!("#{}", "   ".repeat(depth));
    for inner in key.kind.keys_within() {
        let paragraph = format!("{}: {} {}", inner.name, inner.doc_text(), particulars(inner));
        wrap(text, &indent, &format!("{indent}  "), &paragraph);
        items(text, inner, depth + 1);
    }
}

/// Appends `paragraph`, broken between words into lines of at most `WIDTH` characters.
fn wrap(text: &mut String, first: &str, further: &str, paragraph: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in paragraph.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&format!("{line}\n"));
            line = further.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&format!("{line}\n"));
}
