//! A body for people: as JSON, as text, or as hexadecimal, with the byte at which it broke.

use std::io::{self, Write};

use serde::de::IgnoredAny;

use super::arguments::BodyForm;
use super::text::{clean, clean_lines};

/// Bytes of a body shown when nobody asks for a form.
const AUTO_BYTES_MAX: usize = 64 << 10;

/// Characters shown on either side of the byte at which a text broke.
const AROUND: usize = 30;

/// Bytes in a line of hexadecimal.
const HEX_LINE: usize = 16;

/// Writes `body` under a headline. `broken_at` is the offset at which decoding failed, if it did.
pub(super) fn write(out: &mut impl Write, body: &[u8], form: BodyForm, broken_at: Option<u64>) -> io::Result<()> {
    let broken_at = broken_at.map(|offset| usize::try_from(offset).unwrap_or(usize::MAX).min(body.len()));
    let text = std::str::from_utf8(body).ok();
    // No text that people write holds a zero; frames of binary formats do.
    let text = text.filter(|_| form != BodyForm::Auto || !body.contains(&0));
    let json = text.filter(|_| is_json(body));
    let length = body.len();
    match (form, json, text) {
        (BodyForm::Auto | BodyForm::Json, Some(json), _) => {
            writeln!(out, "body ({length} bytes, JSON)")?;
            write_text(out, &indented(json), form)
        }
        (BodyForm::Auto | BodyForm::Json, None, Some(text)) | (BodyForm::Text, _, Some(text)) => {
            let but = if form == BodyForm::Json { ", not JSON" } else { "" };
            writeln!(out, "body ({length} bytes, text{but})")?;
            write_text(out, text, form)?;
            broken_at.map_or(Ok(()), |offset| write_excerpt(out, text, offset))
        }
        (BodyForm::Text, _, None) => {
            writeln!(out, "body ({length} bytes, not all of it text)")?;
            write_text(out, &String::from_utf8_lossy(body), form)
        }
        _ => {
            writeln!(out, "body ({length} bytes)")?;
            write_hex(out, body, form, broken_at)
        }
    }
}

/// Deeper documents than this parser takes are shown as text.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// Valid JSON, indented. Its tokens stay as they are: no number is rounded, no repeated name lost, none reordered.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        let closes = matches!(c, '}' | ']');
        match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            _ if closes => depth -= 1,
            _ => {}
        }
        // An empty container stays on its line.
        if opened != closes {
            break_line(&mut out, depth);
        }
        out.push(c);
        opened = matches!(c, '{' | '[');
        match c {
            '{' | '[' => depth += 1,
            ',' => break_line(&mut out, depth),
            ':' => out.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    out
}

fn write_text(out: &mut impl Write, text: &str, form: BodyForm) -> io::Result<()> {
    let shown = match form {
        BodyForm::Auto => &text[..text.floor_char_boundary(AUTO_BYTES_MAX)],
        _ => text,
    };
    writeln!(out, "{}", clean_lines(shown))?;
    write_rest(out, text.len() - shown.len())
}

fn write_rest(out: &mut impl Write, bytes: usize) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    writeln!(out, "... and {bytes} bytes more; --body text, hex or raw shows all")
}

/// The text around byte `offset`, on one line, with a mark below it.
fn write_excerpt(out: &mut impl Write, text: &str, offset: usize) -> io::Result<()> {
    let (before, after) = text.split_at(text.floor_char_boundary(offset));
    let start = before.char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let before = clean(&before[start..]);
    let after: String = after.chars().take(AROUND).collect();
    writeln!(out, "\nit breaks at byte {offset}:")?;
    writeln!(out, "  {before}{}", clean(&after))?;
    writeln!(out, "  {:>width$}", "^", width = before.chars().count() + 1)
}

/// Offset, bytes, and the printable ones as text; the line of byte `broken_at` is marked, and so is the byte.
fn write_hex(out: &mut impl Write, body: &[u8], form: BodyForm, broken_at: Option<usize>) -> io::Result<()> {
    let shown = if form == BodyForm::Auto { &body[..body.len().min(AUTO_BYTES_MAX)] } else { body };
    for (number, line) in shown.chunks(HEX_LINE).enumerate() {
        let at = number * HEX_LINE;
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let text: String = line.iter().map(printable).collect();
        writeln!(out, "  {at:08x}  {:<47}  {text}", hex.join(" "))?;
        if let Some(within) = broken_at.and_then(|broken_at| broken_at.checked_sub(at)).filter(|w| *w < line.len()) {
            let broken_at = at + within;
            writeln!(out, "  {:>width$} it breaks at byte {broken_at}", "^^", width = 8 + 2 + within * 3 + 2)?;
        }
    }
    if broken_at.is_some_and(|broken_at| broken_at == body.len()) {
        writeln!(out, "  it breaks at byte {}, its end", body.len())?;
    }
    write_rest(out, body.len() - shown.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8], form: BodyForm, broken_at: Option<u64>) -> String {
        let mut out = Vec::new();
        write(&mut out, body, form, broken_at).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_indented_and_its_tokens_stay_as_they_are() {
        let body = br#"{"n":1.50e3, "n":12345678901234567890123,"e":{},"l":[ ],"s":"a\"{,:\\","x":[1,{"y":null}]}"#;
        let expected = r#"body (90 bytes, JSON)
{
  "n": 1.50e3,
  "n": 12345678901234567890123,
  "e": {},
  "l": [],
  "s": "a\"{,:\\",
  "x": [
    1,
    {
      "y": null
    }
  ]
}
"#;
        assert_eq!(shown(body, BodyForm::Auto, None), expected);
        assert_eq!(shown(b"7", BodyForm::Auto, None), "body (1 bytes, JSON)\n7\n");
        assert_eq!(shown(body, BodyForm::Text, None).lines().count(), 2);
    }

    #[test]
    fn a_broken_text_shows_where_it_breaks() {
        let body = "{\"naïve\": tru, \"more\": 1}".as_bytes();
        let expected = "\
body (26 bytes, text)
{\"naïve\": tru, \"more\": 1}

it breaks at byte 14:
  {\"naïve\": tru, \"more\": 1}
               ^
";
        assert_eq!(shown(body, BodyForm::Auto, Some(14)), expected);
        assert!(shown(body, BodyForm::Json, None).starts_with("body (26 bytes, text, not JSON)\n"));
        // Within a character, and beyond the end.
        assert!(shown(body, BodyForm::Auto, Some(5)).ends_with("\n      ^\n"));
        assert!(shown(body, BodyForm::Auto, Some(99)).contains("it breaks at byte 26:"));
    }

    #[test]
    fn other_bytes_are_hexadecimal_with_the_broken_one_marked() {
        let body: Vec<u8> = (0xf0..=0xff).chain(*b"{\"a\xff").collect();
        let expected = "\
body (20 bytes)
  00000000  f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff  ................
  00000010  7b 22 61 ff                                      {\"a.
                     ^^ it breaks at byte 19
";
        assert_eq!(shown(&body, BodyForm::Auto, Some(19)), expected);
        assert!(shown(&body, BodyForm::Auto, Some(20)).ends_with("it breaks at byte 20, its end\n"));
        assert!(shown(&body, BodyForm::Text, None).starts_with("body (20 bytes, not all of it text)\n"));
        assert!(shown(b"{}", BodyForm::Hex, None).contains("7b 7d"));
        assert_eq!(shown(b"", BodyForm::Auto, None), "body (0 bytes, text)\n\n");
    }

    #[test]
    fn a_long_body_is_shown_in_part_unless_a_form_is_asked_for() {
        let long = "é".repeat(AUTO_BYTES_MAX);
        let auto = shown(long.as_bytes(), BodyForm::Auto, None);
        assert!(auto.ends_with("... and 65536 bytes more; --body text, hex or raw shows all\n"), "{}", auto.len());
        assert!(shown(long.as_bytes(), BodyForm::Text, None).contains(&long));
        assert!(shown(&vec![0xff; 100_000], BodyForm::Auto, None).contains("... and 34464 bytes more"));
    }
}
