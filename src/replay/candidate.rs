//! A schema that is tried on dead letters before it is anybody's: frozen with every file it refers to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::ingest::{self, EventPlan, PlanError};
use crate::schema::{Language, ReadFile, Schema, SchemaError};

/// What the text of a file begins with that is none; no schema does.
const BASE64_MARK: &str = "base64:";

/// Where the frozen files stand for what reads them; nothing is ever there.
const ROOT: &str = "/candidate";

/// A schema as a plan holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub name: String,
    pub version: u32,
    /// As [`Schema::hash`].
    pub hash: String,
    #[serde(default)]
    language: Language,
    /// The path of its root among the files.
    root: String,
    /// Texts by path, relative to the directory that holds them all; of what is no text, [`BASE64_MARK`] and its base64.
    files: BTreeMap<String, String>,
}

/// Why a schema cannot be a candidate.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(
        "pipeline {pipeline} has several types of events, and not one whose schema is called {name}: name the file so"
    )]
    Type { name: String, pipeline: String },
    #[error("schema {} refers to files in a way that does not go along with it: refer to them by relative paths", path.display())]
    Tied { path: PathBuf },
    #[error(
        "{label} has other columns than pipeline {pipeline} writes for that version ({difference}): \
         its rows cannot lie beside those. Give it a version of its own, such as {next}.json"
    )]
    Columns { label: String, pipeline: String, difference: String, next: String },
}

impl Candidate {
    /// Freezes the schema at `location`, which is an absolute path, with what `read` gives of the files it refers to.
    ///
    /// # Errors
    /// See [`CandidateError`].
    pub fn freeze(
        language: &Language,
        location: &Path,
        name: &str,
        version: u32,
        read: ReadFile<'_>,
    ) -> Result<Self, CandidateError> {
        let seen = RefCell::new(BTreeMap::new());
        let noting = |path: &Path| {
            let content = read(path)?;
            seen.borrow_mut().insert(plain(path), frozen(&content));
            Ok(content)
        };
        let schema = Schema::load(language, location, name, version, &noting)?;
        let seen = seen.into_inner();
        let above = common_directory(seen.keys());
        let tied = || CandidateError::Tied { path: location.to_owned() };
        let relative = |path: &Path| path.strip_prefix(&above).ok()?.to_str().map(str::to_owned);
        let root = relative(&plain(location)).ok_or_else(tied)?;
        let files: Option<_> = seen.iter().map(|(path, text)| Some((relative(path)?, text.clone()))).collect();
        let frozen = Self {
            name: name.to_owned(),
            version,
            hash: schema.hash().to_owned(),
            language: language.clone(),
            root,
            files: files.ok_or_else(tied)?,
        };
        // What is frozen must be all there is to it.
        match frozen.load() {
            Ok(again) if again.hash() == schema.hash() => Ok(frozen),
            _ => Err(tied()),
        }
    }

    /// Freezes the schema that is `text`, which refers to no file.
    ///
    /// # Errors
    /// See [`CandidateError`].
    pub fn of_text(language: &Language, text: &str, name: &str, version: u32) -> Result<Self, CandidateError> {
        let location = Path::new(ROOT).join(format!("{name}.v{version}.json"));
        let read = |path: &Path| match path == location {
            true => thawed(text),
            false => Err(io::ErrorKind::NotFound.into()),
        };
        Self::freeze(language, &location, name, version, &read)
    }

    /// `name@version`, as in the `_schema` column.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The text of its root.
    pub fn text(&self) -> &str {
        self.files.get(&self.root).map_or("", String::as_str)
    }

    fn load(&self) -> Result<Schema, SchemaError> {
        Schema::load(&self.language, &self.location(), &self.name, self.version, &|path| self.read(path))
    }

    fn location(&self) -> PathBuf {
        Path::new(ROOT).join(&self.root)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = plain(path);
        let text = path.strip_prefix(ROOT).ok().and_then(Path::to_str).and_then(|path| self.files.get(path));
        thawed(text.ok_or(io::ErrorKind::NotFound)?)
    }

    /// The pipeline of `current`, compiled with this schema in the place of its own.
    ///
    /// # Errors
    /// [`CandidateError::Columns`]: rows of that version would differ from those that are there.
    pub fn compile(&self, current: &ingest::Plan) -> Result<ingest::Plan, CandidateError> {
        let place = self.place(current)?;
        let now = &current.events[place];
        let event = config::EventType {
            schema: self.location(),
            schema_name: self.name.clone(),
            schema_version: self.version,
            rules: None,
            ..now.config.clone()
        };
        let mut tried = EventPlan::new(&current.config, &event, &current.writers(), &|path| self.read(path))?;
        if now.config.rules.is_some() {
            // They are the pipeline's own, and no part of what is tried.
            tried.validator.clone_from(&now.validator);
            tried.config.rules.clone_from(&now.config.rules);
        }
        if self.version == now.config.schema_version {
            now.succeeded_by(&tried).map_err(|difference| CandidateError::Columns {
                label: self.label(),
                pipeline: current.config.name.clone(),
                difference: difference.to_string(),
                next: format!("{}.v{}", self.name, self.version.saturating_add(1)),
            })?;
        }
        Ok(current.with(place, tried))
    }

    /// The place of the type of events whose schema it stands for: the only one, or the one whose schema is called so.
    fn place(&self, current: &ingest::Plan) -> Result<usize, CandidateError> {
        let mut places =
            (0..current.events.len()).filter(|place| current.events[*place].config.schema_name == self.name);
        match (current.events.len(), places.next(), places.next()) {
            (1, ..) => Ok(0),
            (_, Some(place), None) => Ok(place),
            _ => Err(CandidateError::Type { name: self.name.clone(), pipeline: current.config.name.clone() }),
        }
    }
}

fn frozen(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{BASE64_MARK}{}", BASE64.encode(content)),
    }
}

fn thawed(text: &str) -> io::Result<Vec<u8>> {
    match text.strip_prefix(BASE64_MARK) {
        Some(base64) => BASE64.decode(base64).map_err(|_| io::ErrorKind::InvalidData.into()),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn common_directory<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> PathBuf {
    let mut common: Option<PathBuf> = None;
    for directory in paths.filter_map(|path| path.parent()) {
        let above = common.get_or_insert_with(|| directory.to_owned());
        while !directory.starts_with(&*above) && above.pop() {}
    }
    common.unwrap_or_default()
}

/// What a plan compiles to: the pipeline as it is, or with the candidate in the place of its schema.
///
/// # Errors
/// See [`CandidateError`].
pub fn compiled(
    current: Arc<ingest::Plan>,
    candidate: Option<&Candidate>,
) -> Result<Arc<ingest::Plan>, CandidateError> {
    candidate.map_or(Ok(Arc::clone(&current)), |candidate| candidate.compile(&current).map(Arc::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/srv/schemas/order.v1.json") => {
                Ok(br#"{"type":"object","properties":{"at":{"$ref":"common/at.json"}}}"#.to_vec())
            }
            Some("/srv/schemas/common/at.json") => Ok(br#"{"type":["string","null"]}"#.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn a_schema_is_frozen_with_the_files_it_refers_to() {
        let location = Path::new("/srv/schemas/order.v1.json");
        let frozen = Candidate::freeze(&Language::JsonSchema, location, "order", 1, &files).expect("a schema");
        let names: Vec<_> = frozen.files.keys().map(String::as_str).collect();
        assert_eq!((frozen.root.as_str(), names), ("order.v1.json", vec!["common/at.json", "order.v1.json"]));
        assert_eq!(frozen.load().expect("loads").hash(), frozen.hash);
        let text = serde_json::to_string(&frozen).expect("written");
        assert_eq!(serde_json::from_str::<Candidate>(&text).expect("read"), frozen);
    }

    #[test]
    fn a_schema_without_its_files_is_none() {
        let missing = |path: &Path| match path.ends_with("at.json") {
            true => Err(io::ErrorKind::NotFound.into()),
            false => files(path),
        };
        let location = Path::new("/srv/schemas/order.v1.json");
        assert!(matches!(
            Candidate::freeze(&Language::JsonSchema, location, "order", 1, &missing),
            Err(CandidateError::Schema(_))
        ));
        assert!(matches!(Candidate::of_text(&Language::JsonSchema, "{", "order", 1), Err(CandidateError::Schema(_))));
        assert_eq!(Candidate::of_text(&Language::JsonSchema, "{}", "order", 1).expect("a schema").label(), "order@1");
    }
}
