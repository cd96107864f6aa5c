//! The JSON Schema Test Suite (drafts 2020-12 and 7, required parts) through our loader, decoder and validator: its verdicts
//! are the suite's, and those of the jsonschema crate on plain `serde_json` values.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jsonschema::{Draft, Retrieve, Uri};
use parqueduct::decode::{Decoder, JsonDecoder, Limits};
use parqueduct::schema::{Language, Schema};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

const REMOTE: &str = "http://localhost:1234/";
/// Where the suite's server is when nothing is fetched over the network.
const LOCAL: &str = "file:///remotes/";

/// They say that formats are not asserted unless asked for; we always ask.
const FORMAT_IS_ANNOTATION: &str = "format.json";

#[derive(Deserialize)]
struct Group {
    description: String,
    schema: Json,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    description: String,
    data: Box<RawValue>,
    valid: bool,
}

#[test]
fn draft_2020_12_is_judged_as_the_suite_expects() {
    assert!(judge("draft2020-12", Draft::Draft202012, "https://json-schema.org/draft/2020-12/schema") > 1_200);
}

#[test]
fn draft_7_is_judged_as_the_suite_expects() {
    assert!(judge("draft7", Draft::Draft7, "http://json-schema.org/draft-07/schema#") > 800);
}

/// Runs all cases of a draft; returns how many.
fn judge(draft_folder: &str, draft: Draft, dialect: &str) -> usize {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/json-schema-test-suite");
    let remotes = remotes(&suite.join("remotes"));
    let mut decoder = Decoder::Json(JsonDecoder::new(Limits { body_bytes_max: 1 << 20, depth_max: 64 }));
    let (mut cases, mut wrong) = (0, Vec::new());
    for file in files(&suite.join("tests").join(draft_folder)) {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let groups: Vec<Group> =
            serde_json::from_str(&fs::read_to_string(&file).expect("readable")).expect("a test file");
        for group in groups {
            let ours = load(&group.schema, dialect, &remotes).validator(10).expect(&group.description);
            let mut options = jsonschema::options();
            if group.schema.get("$schema").is_none() {
                options = options.with_draft(draft);
            }
            let theirs = options
                .with_retriever(Remotes(remotes.clone()))
                .should_validate_formats(true)
                .build(&group.schema)
                .expect(&group.description);
            for case in group.tests {
                let body = case.data.get();
                let verdict =
                    decoder.decode(body.as_bytes(), |tape| ours.check_value(tape.root())).expect(body).is_ok();
                let second = theirs.is_valid(&serde_json::from_str(body).expect(body));
                let expected = if name == FORMAT_IS_ANNOTATION { second } else { case.valid };
                if (verdict, second) != (expected, expected) {
                    let (group, case) = (&group.description, &case.description);
                    wrong.push(format!("{name}: {group}: {case}: {verdict}, serde_json {second}, expected {expected}"));
                }
                cases += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    cases
}

/// The schema as a file that names its draft, with the suite's server on the disk.
fn load(schema: &Json, dialect: &str, remotes: &HashMap<String, String>) -> Schema {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        members.entry("$schema").or_insert_with(|| dialect.into());
    }
    let root = Path::new("/suite/schema.json");
    let text = schema.to_string().replace(REMOTE, LOCAL);
    let read = |path: &Path| {
        if path == root {
            return Ok(text.clone().into_bytes());
        }
        let name = path.strip_prefix("/remotes").ok().and_then(Path::to_str).unwrap_or_default();
        remotes
            .get(name)
            .map(|text| text.replace(REMOTE, LOCAL).into_bytes())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    Schema::load(&Language::JsonSchema, root, "suite", 1, &read).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Every file below `folder`, by its path there.
fn remotes(folder: &Path) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in files(&next) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("readable"));
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the suite is in the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

struct Remotes(HashMap<String, String>);

impl Retrieve for Remotes {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        let text = uri.as_str().strip_prefix(REMOTE).and_then(|name| self.0.get(name)).ok_or("not in the suite")?;
        Ok(serde_json::from_str(text)?)
    }
}
