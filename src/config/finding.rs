//! What a check of the configuration found: where, what, and the mend. Never a secret, never a second line.

use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// One thing to mend. Displayed as one line: `file:line: key: problem: mend`, with `warning: ` before the key of a
/// warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub file: PathBuf,
    /// 1-based.
    pub line: usize,
    /// The key's dotted path, such as `pipeline.flush.rows`; empty when the file is not TOML.
    pub key: String,
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}: {}", self.problem, self.mend)
    }
}

/// All that was found in a configuration that cannot be used, by line; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn all(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

/// Where in the file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key's dotted path.
    pub key: String,
    /// 1-based; of a key that is not written, its section's.
    pub line: usize,
    /// The key stands in the file; else its default is meant.
    pub written: bool,
}

impl Place {
    /// The place of `name`, which is missing below this one.
    pub(super) fn missing(&self, name: &str) -> Place {
        Place { written: false, ..self.at(name, self.line) }
    }

    /// The place of `name` below this one, written on `line`.
    pub(super) fn at(&self, name: &str, line: usize) -> Place {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Place { key, line, written: true }
    }
}

/// The findings so far.
pub(super) struct Notes<'a> {
    file: &'a Path,
    findings: Vec<Finding>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self { file, findings: Vec::new() }
    }

    pub(super) fn error(&mut self, place: &Place, problem: impl Into<String>, mend: impl Into<String>) {
        self.note(Severity::Error, place, problem.into(), mend.into());
    }

    pub(super) fn warning(&mut self, place: &Place, problem: impl Into<String>, mend: impl Into<String>) {
        self.note(Severity::Warning, place, problem.into(), mend.into());
    }

    fn note(&mut self, severity: Severity, place: &Place, problem: String, mend: String) {
        let (file, key) = (self.file.to_owned(), place.key.clone());
        let finding = Finding { severity, file, line: place.line, key, problem, mend };
        // What a pipeline says for all its types of events is looked at once for each.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The warnings, by line, if there is no error.
    pub(super) fn into_warnings(mut self) -> Result<Vec<Finding>, Findings> {
        self.findings.sort_by_key(|finding| finding.line);
        if self.findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(Findings(self.findings));
        }
        Ok(self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_of_file_line_key_problem_and_mend() {
        let mut notes = Notes::new(Path::new("parqueduct.toml"));
        let place = Place { key: "pipeline.flush.rows".into(), line: 12, written: true };
        let mend = "set rows to at most 35000 or raise prefetch";
        notes.error(&place, "40000 is more than 70 % of prefetch 50000", mend);
        notes.warning(&Place { line: 3, ..place }, "odd", "look");
        let findings = notes.into_warnings().expect_err("an error");
        assert_eq!(
            findings.to_string(),
            "parqueduct.toml:3: warning: pipeline.flush.rows: odd: look\n\
             parqueduct.toml:12: pipeline.flush.rows: 40000 is more than 70 % of prefetch 50000: set rows to at most \
             35000 or raise prefetch"
        );
    }
}
