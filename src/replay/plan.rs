//! A plan: which letters go back, how they are mended, where to, and what all of that was decided against. Frozen in the
//! store under its hash; a dry run tries it, and a replay executes exactly it.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{self, PartitionKey, TimeFormat, show_duration};
use crate::dlq::filter::Filter;
use crate::dlq::fingerprint::GroupId;
use crate::ingest;
use crate::replay::candidate::Candidate;
use crate::replay::destination::{Destination, Sending};
use crate::replay::fix::{Fix, FixError};
use crate::replay::manifest::{self, Line, ManifestError};
use crate::store::texts::time_text;
use crate::store::{Store, StoreError};

/// Below the store's root: every plan, in a directory named by its hash.
pub const PREFIX: &str = "dlq/plans/v1";

/// What this version writes.
const FORMAT: u32 = 1;

/// Characters of a hash that people see.
const SHORT: usize = 12;

/// Fewest characters by which a plan is found.
const PREFIX_MIN: usize = 4;

/// A frozen plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// SHA-256 of its terms, in hex: the same plan made twice is the same object.
    pub hash: String,
    #[serde(with = "time_text")]
    pub created_at: DateTime<Utc>,
    /// Who made it first.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(flatten)]
    pub terms: Terms,
}

/// What makes a plan this one and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Whose letters they are.
    pub pipeline: String,
    /// Which pipeline judges them, where that is not their own: letters of other consumers have none that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// As it was asked; what was meant is in the manifest.
    pub selection: Selection,
    pub letters: u64,
    /// Of all bodies.
    pub body_bytes: u64,
    /// Of the letters in their order; see [`manifest::hash`].
    pub manifest_sha256: String,
    /// The groups that the letters show, with the number of letters in each.
    pub groups: BTreeMap<GroupId, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    pub destination: Destination,
    #[serde(default)]
    pub sending: Sending,
    /// A few letters go first, and failures among them stop the rest.
    pub canary: bool,
    pub against: Against,
}

/// Which letters were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The letters that this job recovered or sent, though they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_job: Option<String>,
}

impl Selection {
    /// Whether letters are given back though they are recovered.
    pub fn again(&self) -> bool {
        self.of_job.is_some()
    }
}

/// A fix as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixText {
    /// What its file is called.
    pub name: String,
    pub text: String,
}

/// What a plan was made against. When it is something else later, the plan is not what was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Against {
    /// Of this program.
    pub version: String,
    /// `name@version` of the pipeline's own schema, or of those of its types of events with a comma between.
    pub schema: String,
    pub schema_hash: String,
    /// The settings of the pipeline that say what becomes of an event, as the configuration file writes them.
    pub settings: BTreeMap<String, String>,
}

/// Why a plan cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no plan {0}: `parqueduct dlq plan` prints the hash of the plan it makes")]
    Unknown(String),
    #[error("{0} plans begin with {1}: write more of the hash")]
    Ambiguous(usize, String),
    #[error("plan {path} cannot be read: {problem}")]
    Unreadable { path: String, problem: String },
    #[error("plan {path} cannot be read")]
    Manifest { path: String, source: ManifestError },
    #[error("plan {0} is not what its hash says: it was changed after it was made")]
    Changed(String),
    #[error("the fix of plan {plan} is none for this program")]
    Fix { plan: String, source: FixError },
}

impl Against {
    /// As things are now.
    pub fn now(plan: &ingest::Plan) -> Self {
        Self {
            version: crate::VERSION.to_owned(),
            schema: plan.schema_labels(),
            schema_hash: plan.events.iter().map(|event| event.schema.hash()).collect::<Vec<_>>().join(", "),
            settings: settings(plan),
        }
    }

    /// What is not as it was, one sentence each. The pipeline may have adopted `candidate` meanwhile: that is what a
    /// candidate is for.
    pub fn differences(&self, now: &Against, candidate: Option<&Candidate>) -> Vec<String> {
        let mut differences = Vec::new();
        let adopted = candidate.is_some_and(|candidate| self.adopts(now, candidate));
        if self.version != now.version {
            differences
                .push(format!("it was made by version {} of parqueduct, and this is {}", self.version, now.version));
        }
        if !adopted && (&self.schema, &self.schema_hash) != (&now.schema, &now.schema_hash) {
            differences.push(match self.schema == now.schema {
                true => format!("schema {} says something else now", self.schema),
                false => format!("the pipeline's schema was {}, and is {}", self.schema, now.schema),
            });
        }
        let keys = self.settings.keys().chain(now.settings.keys().filter(|key| !self.settings.contains_key(*key)));
        for key in keys {
            let (was, is) = (self.settings.get(key), now.settings.get(key));
            if was != is {
                let shown = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
                differences.push(format!("{key} was {}, and is {}", shown(was), shown(is)));
            }
        }
        differences
    }
}

impl Against {
    /// Whether the schemas differ in nothing but that `candidate` took the place of one.
    fn adopts(&self, now: &Against, candidate: &Candidate) -> bool {
        let schemas = |against: &Against| -> Vec<(String, String)> {
            let (labels, hashes) = (against.schema.split(", "), against.schema_hash.split(", "));
            labels.zip(hashes).map(|(label, hash)| (label.to_owned(), hash.to_owned())).collect()
        };
        let (was, is, adopted) = (schemas(self), schemas(now), (candidate.label(), candidate.hash.clone()));
        was.len() == is.len() && was.iter().zip(&is).all(|(was, is)| was == is || *is == adopted)
    }
}

fn settings(plan: &ingest::Plan) -> BTreeMap<String, String> {
    let config = &plan.config;
    let mut settings = BTreeMap::from([
        ("queue".to_owned(), config.queue.clone()),
        ("body_max".to_owned(), config.body_bytes_max.to_string()),
        ("depth_max".to_owned(), config.depth_max.to_string()),
        ("issues_max".to_owned(), config.issues_max.to_string()),
    ]);
    if config.envelope != config::Envelope::None {
        settings.insert("envelope".to_owned(), config.envelope.as_str().to_owned());
    }
    for event in &plan.events {
        let section = event.config.name.as_ref().map(|name| format!("event {name}: ")).unwrap_or_default();
        settings.extend(event_settings(event).into_iter().map(|(key, value)| (format!("{section}{key}"), value)));
    }
    settings
}

fn event_settings(event: &ingest::EventPlan) -> Vec<(&'static str, String)> {
    let config = &event.config;
    let time_format = match config.event_time_format {
        TimeFormat::Rfc3339 => "rfc3339",
        TimeFormat::UnixSeconds => "unix_seconds",
        TimeFormat::UnixMillis => "unix_millis",
        TimeFormat::UnixMicros => "unix_micros",
    };
    let key = |key: &PartitionKey| match key {
        PartitionKey::Date => "date".to_owned(),
        PartitionKey::Hour => "hour".to_owned(),
        PartitionKey::Field { pointer, .. } => pointer.as_str().to_owned(),
    };
    let partition_by: Vec<_> = config.partition_by.iter().map(key).collect();
    let mut settings = vec![
        ("format", config.format.as_str().to_owned()),
        ("event_time_format", time_format.to_owned()),
        ("event_time_ahead_max", show_duration(config.event_time_ahead_max)),
        ("partition_by", partition_by.join(", ")),
        ("keep_raw", config.keep_raw.to_string()),
    ];
    // The schema's hash tells of the message, too.
    let framed = matches!(config.format, config::Format::Avro | config::Format::Auto);
    settings.extend(framed.then(|| ("framing", config.framing.as_str().to_owned())));
    let rules = event.validator.as_ref().filter(|_| config.rules.is_some());
    settings.extend(rules.map(|rules| ("rules", rules.schema().hash().to_owned())));
    settings.extend(config.event_id.as_ref().map(|pointer| ("event_id", pointer.as_str().to_owned())));
    settings.extend(config.event_time.as_ref().map(|pointer| ("event_time", pointer.as_str().to_owned())));
    settings.extend(config.event_time_behind_max.map(|span| ("event_time_behind_max", show_duration(span))));
    settings.extend((config.when != config::When::default()).then(|| ("when", show_when(&config.when))));
    settings
}

fn show_when(when: &config::When) -> String {
    let pair = |name: &str, value: &str| format!("{name} = {value}");
    let parts = [
        when.message_type.as_deref().map(|value| pair("type", value)),
        when.source.as_deref().map(|value| pair("source", value)),
        when.dataschema.as_deref().map(|value| pair("dataschema", value)),
        when.content_type.as_deref().map(|value| pair("content_type", value)),
        when.subject.as_deref().map(|value| pair("subject", value)),
        when.routing_key.as_deref().map(|value| pair("routing_key", value)),
        when.header.as_ref().map(|(name, value)| pair(&format!("header {name}"), value)),
        when.field.as_ref().map(|(pointer, value)| pair(pointer.as_str(), value)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Terms {
    /// SHA-256 in hex.
    fn hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("terms have text keys and finite numbers");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The pipeline that judges the letters.
    pub fn judge(&self) -> &str {
        self.into.as_ref().unwrap_or(&self.pipeline)
    }

    /// See [`mend`].
    pub fn mend(&self) -> Option<String> {
        mend(self.fix.as_ref(), self.candidate.as_ref())
    }
}

impl Plan {
    pub fn new(terms: Terms, created_at: DateTime<Utc>, by: &str, why: Option<&str>) -> Self {
        Self { hash: terms.hash(), created_at, by: by.to_owned(), why: why.map(str::to_owned), terms }
    }

    /// The beginning of its hash, as people see it.
    pub fn short(&self) -> &str {
        short(&self.hash)
    }

    /// The fix, read.
    ///
    /// # Errors
    /// [`PlanError::Fix`].
    pub fn read_fix(&self) -> Result<Option<Fix>, PlanError> {
        let read = self.terms.fix.as_ref().map(|fix| Fix::parse(&fix.text, &fix.name)).transpose();
        read.map_err(|source| PlanError::Fix { plan: self.short().to_owned(), source })
    }

    /// Stores it with its manifest. The same plan made before stays as it was, and is given back.
    ///
    /// # Errors
    /// The store's.
    pub async fn store(self, store: &Store, lines: &[Line]) -> Result<Self, PlanError> {
        let manifest = manifest::encode(lines).expect("ids, paths and sizes are columns");
        // The manifest first: a plan that can be found is whole.
        match store.create(&manifest_path(&self.hash), manifest).await {
            // Records may lie elsewhere by now; the letters are the same.
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match store.create(&plan_path(&self.hash), encode(&self)).await {
            Ok(()) => Ok(self),
            Err(StoreError::Exists { .. }) => read_whole(store, &self.hash).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The letters, in the order in which they go back.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub async fn lines(&self, store: &Store) -> Result<Vec<Line>, PlanError> {
        let path = manifest_path(&self.hash);
        let file = store.get(&path).await?;
        let decoded = tokio::task::spawn_blocking(move || manifest::decode(file)).await;
        let decoded = decoded.unwrap_or(Err(ManifestError::Foreign("it is broken in a way that stops its reader")));
        let lines = decoded.map_err(|source| PlanError::Manifest { path, source })?;
        if manifest::hash(&lines) != self.terms.manifest_sha256 {
            return Err(PlanError::Changed(self.short().to_owned()));
        }
        Ok(lines)
    }
}

/// The beginning of a hash, as people see it.
pub fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// The plan whose hash begins with `prefix`.
///
/// # Errors
/// See [`PlanError`].
pub async fn read(store: &Store, prefix: &str) -> Result<Plan, PlanError> {
    let hex = prefix.len() >= PREFIX_MIN && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let unknown = || PlanError::Unknown(prefix.to_owned());
    if !hex {
        return Err(unknown());
    }
    let mut found: Vec<String> = store.dirs(PREFIX).await?;
    found.retain(|hash| hash.starts_with(prefix));
    match found.as_slice() {
        [] => Err(unknown()),
        [hash] => read_whole(store, hash).await,
        several => Err(PlanError::Ambiguous(several.len(), prefix.to_owned())),
    }
}

/// Every plan of the store, the newest first.
///
/// # Errors
/// See [`PlanError`].
pub async fn list(store: &Store) -> Result<Vec<Plan>, PlanError> {
    let hashes = store.dirs(PREFIX).await?;
    let reads = futures_util::stream::iter(hashes.iter().map(|hash| Ok::<_, PlanError>(read_whole(store, hash))));
    let mut plans: Vec<Plan> = reads.try_buffered(8).try_collect().await?;
    plans.sort_by(|one, other| (other.created_at, &other.hash).cmp(&(one.created_at, &one.hash)));
    Ok(plans)
}

async fn read_whole(store: &Store, hash: &str) -> Result<Plan, PlanError> {
    let path = plan_path(hash);
    let Some(bytes) = store.get_if_exists(&path).await? else { return Err(PlanError::Unknown(hash.to_owned())) };
    let unreadable = |problem: String| PlanError::Unreadable { path: path.clone(), problem };
    let format: Format = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if format.format > FORMAT {
        return Err(unreadable(format!("its format {} is newer than {FORMAT}; update parqueduct", format.format)));
    }
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if plan.hash != hash || plan.terms.hash() != hash {
        return Err(PlanError::Changed(short(hash).to_owned()));
    }
    Ok(plan)
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    plan: &'a Plan,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn encode(plan: &Plan) -> Bytes {
    let json = serde_json::to_vec_pretty(&Written { format: FORMAT, plan });
    json.expect("plans have text keys and finite numbers").into()
}

fn plan_path(hash: &str) -> String {
    format!("{PREFIX}/{hash}/plan.json")
}

fn manifest_path(hash: &str) -> String {
    format!("{PREFIX}/{hash}/manifest.parquet")
}

/// What letters are mended with, as one text: a letter that failed with it will fail with it again. `None`: nothing.
pub fn mend(fix: Option<&FixText>, candidate: Option<&Candidate>) -> Option<String> {
    let fix = fix.map(|fix| fix.text.as_str());
    let candidate = candidate.map(|candidate| candidate.hash.as_str());
    (fix.is_some() || candidate.is_some()).then(|| format!("{fix:?} {candidate:?}"))
}
