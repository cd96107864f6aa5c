//! Configuration files.

use std::io;
use std::path::Path;

use parqueduct::config::{Severity, Surroundings, load};

/// What a variable, and a file of a secret, hold here.
const SECRET: &str = "kD7-Zq0x";

/// Whatever stands in a file, it is a configuration, or there are findings: an error among them, each on one line, by lines
/// that the file has, and without a secret.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let variable = |name: &str| (!name.starts_with("UNSET")).then(|| SECRET.to_owned());
    let read = |path: &Path| match path.extension().is_some() {
        true => Ok(SECRET.to_owned()),
        false => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let surroundings = Surroundings { variable: &variable, read: &read, hostname: Some("host") };
    let loaded = load(Path::new("/etc/parqueduct.toml"), text, &surroundings);
    let findings = match &loaded {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|finding| finding.severity == Severity::Warning));
            &loaded.warnings[..]
        }
        Err(findings) => {
            assert!(findings.all().iter().any(|finding| finding.severity == Severity::Error));
            findings.all()
        }
    };
    assert!(findings.is_sorted_by_key(|finding| finding.line));
    let lines = text.split('\n').count();
    for finding in findings {
        let told = finding.to_string();
        assert!((1..=lines).contains(&finding.line), "{told}");
        assert!(!told.contains(['\n', '\r']), "{told:?}");
        assert!(!told.contains(SECRET) || text.contains(SECRET), "{told}");
    }
}
