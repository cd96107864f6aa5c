//! Lines of files that are samples, one by one.

use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::Context;

use super::BODY_BYTES_MAX;
use crate::app;

/// Gives each line of `path` that is not blank, with its number, to `each`, until that has enough (`false`).
///
/// # Errors
/// The file cannot be read, a line is longer than a sample may be, or what `each` says.
pub(super) fn each_line(path: &Path, mut each: impl FnMut(u64, &[u8]) -> io::Result<bool>) -> anyhow::Result<()> {
    let unreadable = || format!("{}: cannot be read", path.display());
    let mut input = app::open_lines(path, false).with_context(unreadable)?;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = Read::take(&mut input.reader, BODY_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line);
        if read.with_context(unreadable)? == 0 {
            break;
        }
        let event = line.strip_suffix(b"\n").unwrap_or(&line);
        let event = event.strip_suffix(b"\r").unwrap_or(event);
        if event.len() > BODY_BYTES_MAX {
            anyhow::bail!(
                "{}: line {number} is longer than {BODY_BYTES_MAX} bytes: is this one event a line?",
                path.display()
            );
        }
        if !event.trim_ascii().is_empty() && !each(number, event)? {
            break;
        }
    }
    Ok(())
}
