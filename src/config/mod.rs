//! The configuration file: raw as written, then checked. Parts take the checked types; nothing here touches a file, the
//! environment or the network by itself: the caller lends them.

mod check;
mod checked;
mod editor;
mod finding;
mod keys;
mod monitor;
mod nearest;
mod raw;
mod read;
mod reference;
#[cfg(test)]
mod tests;
mod text;
mod units;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub use check::schema_identity;
pub use checked::*;
pub use editor::json_schema;
pub use finding::{Finding, Findings, Severity};
pub use monitor::{FieldRule, Monitor, Personal};
pub(crate) use nearest::nearest;
pub use reference::reference;
pub use units::{show_duration, size as parse_size};

use finding::Place;
use read::{Reader, Section};

/// What the file may refer to, lent by the caller.
pub struct Surroundings<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file: of secrets, certificates and schemas.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The name of this host, from which the instance's is made.
    pub hostname: Option<&'a str>,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// By line.
    pub warnings: Vec<Finding>,
    /// The place of each key, by the pipeline's name (none outside pipelines) and the dotted path.
    places: BTreeMap<(Option<String>, String), Place>,
}

impl Loaded {
    /// A finding of a later stage (a schema that cannot be used, a queue that is not there), placed at the key that led
    /// there: `key` is a dotted path such as `store.url`, or `pipeline.schema` with the pipeline's name.
    pub fn finding(
        &self,
        severity: Severity,
        pipeline: Option<&str>,
        key: &str,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        let line = self.places.get(&(pipeline.map(str::to_owned), key.to_owned())).map_or(1, |place| place.line);
        let file = self.config.file.clone();
        Finding { severity, file, line, key: key.to_owned(), problem: problem.into(), mend: mend.into() }
    }
}

/// Reads and checks the configuration `text` of the file `path`; relative paths in it are relative to the file's
/// directory.
///
/// # Errors
/// Everything that is wrong with it, and what is odd, by line; each finding says where and how to mend it.
pub fn load(path: &Path, text: &str, surroundings: &Surroundings<'_>) -> Result<Loaded, Findings> {
    let mut reader = Reader::new(path, text, surroundings);
    let root: Option<raw::Root> = reader.document();
    let config = root.as_ref().and_then(|root| check::config(root, &mut reader, path));
    let warnings = reader.notes.into_warnings()?;
    let (root, config) = root.zip(config).expect("what gives no configuration notes an error");
    Ok(Loaded { config, warnings, places: places(&root) })
}

fn places(root: &raw::Root) -> BTreeMap<(Option<String>, String), Place> {
    let mut places = BTreeMap::new();
    let mut keep = |pipeline: Option<&str>, section: Vec<(&'static str, Place)>| {
        for (_, place) in section {
            places.insert((pipeline.map(str::to_owned), place.key.clone()), place);
        }
    };
    keep(None, root.places());
    keep(None, root.rabbitmq.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    let oauth2 = root.rabbitmq.as_ref().and_then(|section| section.value.oauth2.as_ref());
    keep(None, oauth2.map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.store.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.registry.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.otlp.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.http.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.dlq.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    keep(None, root.run.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    for pipeline in root.pipeline.iter().flat_map(|given| &given.value) {
        let name = pipeline.value.name.as_ref().map(|name| name.value.value.as_str());
        keep(name, pipeline.value.places());
        keep(name, pipeline.value.breaker.as_ref().map_or_else(Vec::new, |section| section.value.places()));
        keep(name, pipeline.value.infer.as_ref().map_or_else(Vec::new, |section| section.value.places()));
        keep(name, pipeline.value.flush.as_ref().map_or_else(Vec::new, |section| section.value.places()));
    }
    places
}
