//! An aligned table.

use std::io::{self, Write};

/// Characters the column that gives way keeps in any case.
const CUT_MIN: usize = 20;

const GAP: &str = "  ";

pub(super) struct Column {
    head: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Number,
    Cut,
}

impl Column {
    /// Shown whole.
    pub fn whole(head: &'static str) -> Self {
        Self { head, kind: Kind::Whole }
    }

    /// Shown whole, to the right.
    pub fn number(head: &'static str) -> Self {
        Self { head, kind: Kind::Number }
    }

    /// Cut where the terminal ends; to be the last.
    pub fn cut(head: &'static str) -> Self {
        Self { head, kind: Kind::Cut }
    }
}

pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub fn add(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Writes the head and the rows, in lines of at most `width` characters if the columns shown whole allow it.
    pub fn write(&self, out: &mut impl Write, width: Option<usize>) -> io::Result<()> {
        let heads = self.columns.each_ref().map(|column| column.head.to_owned());
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|at| lines().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
        let rest = width.map_or(usize::MAX, |width| width.saturating_sub(before).max(CUT_MIN));
        for row in lines() {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                match column.kind {
                    Kind::Whole => line.push_str(&format!("{cell:<width$}{GAP}")),
                    Kind::Number => line.push_str(&format!("{cell:>width$}{GAP}")),
                    Kind::Cut => line.push_str(&cut(cell, rest)),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// At most `width` characters of `text`, with an ellipsis where it is cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>) -> String {
        let mut table = Table::new([Column::whole("NAME"), Column::number("N"), Column::cut("WHAT")]);
        table.add(["é".into(), "7".into(), "a sentence that is longer than the line".into()]);
        table.add(["longer".into(), "12345".into(), "short".into()]);
        let mut out = Vec::new();
        table.write(&mut out, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_the_last_gives_way() {
        let expected = "\
NAME        N  WHAT
é           7  a sentence that is long…
longer  12345  short
";
        assert_eq!(written(Some(39)), expected);
        assert_eq!(written(Some(3)), expected.replace("is long…", "is …"), "but not below what can be read");
        assert!(written(None).contains("longer than the line\n"));
    }
}
