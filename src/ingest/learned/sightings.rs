//! What good events have that their learned schema does not declare, and what bad ones have of another type than it says:
//! told of once each, counted, and of the former what they are, for a schema that declares them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use tracing::{info, warn};

use crate::config::{Infer, NewFields};
use crate::metrics::PipelineMetrics;
use crate::rejection::Issue;
use crate::schema::Schema;
use crate::schema::infer::{Evolution, Learner, Limits};
use crate::value::Value;

/// What is looked at of new fields: less than of the first events, for it is done while events flow.
const LIMITS: Limits = Limits::for_columns(5_000);

/// What the events of one pipeline have that its schema in use does not say. Shared by its shards.
pub struct Sightings {
    infer: Infer,
    /// New fields are declared by somebody: nobody does, where they could not be agreed on.
    may_adopt: bool,
    metrics: Arc<PipelineMetrics>,
    state: Mutex<State>,
}

struct State {
    evolution: Evolution,
    /// Of events with something new, whatever revision it was new to.
    learner: Learner,
    /// By path, since when a field is looked at.
    pending: HashMap<String, Pending>,
    /// What was told of, whatever revision it was new to.
    told: HashSet<(String, String)>,
    /// Whether new fields are to be declared.
    is_adopting: bool,
    /// There are more new fields than are looked at, and that was told.
    is_full: bool,
    /// As much was told of as may be, and that was told.
    is_silent: bool,
}

struct Pending {
    since: DateTime<Utc>,
    /// Events that had it before.
    events: u64,
}

/// New fields that enough is known of.
#[derive(Debug)]
pub struct Ripe {
    /// As issues name places.
    pub paths: Vec<String>,
    /// What was learned of events that have them.
    pub learned: Json,
}

impl Sightings {
    /// What events of `schema` have beside it; whether new fields are declared is as `infer` says, if they `may` be.
    pub fn new(infer: Infer, may_adopt: bool, metrics: Arc<PipelineMetrics>, schema: &Schema) -> Self {
        let state = State::new(&infer, may_adopt, schema, Learner::new(LIMITS), HashSet::new());
        Self { infer, may_adopt, metrics, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another schema is in use.
    pub fn renew(&self, schema: &Schema) {
        let mut state = self.state();
        let learner = std::mem::replace(&mut state.learner, Learner::new(LIMITS));
        let told = std::mem::take(&mut state.told);
        *state = State::new(&self.infer, self.may_adopt, schema, learner, told);
    }

    /// Looks at a good event that has something beside its columns.
    pub fn observe(&self, event: Value<'_>, now: DateTime<Utc>) {
        let mut state = self.state();
        let observed = state.evolution.observe(event);
        if observed.undeclared == 0 {
            return;
        }
        if state.is_adopting {
            state.learner.observe(event);
            if state.learner.is_too_wide() {
                state.is_adopting = false;
                warn!(pipeline = %self.metrics.name, "events have more than {} names: no new field becomes a column any more; declare those that should with `parqueduct schema adopt`", LIMITS.names_max);
            }
        }
        for at in observed.new {
            let field = &state.evolution.fields()[at];
            // It has no type yet.
            if field.type_name == "null" {
                continue;
            }
            let (path, of, is_untold) = (field.path.clone(), field.type_name, field.is_untold());
            if is_untold {
                if state.tell(&path, of, self.infer.fields_max) {
                    info!(pipeline = %self.metrics.name, %path, r#type = of, "events have fields whose names are values: they are kept in _extra");
                }
                continue;
            }
            state.pending.entry(path.clone()).or_insert(Pending { since: now, events: 0 });
            let becomes = if state.is_adopting {
                "it becomes a column once enough events had it"
            } else {
                "declare it with `parqueduct schema adopt`"
            };
            if state.tell(&path, of, self.infer.fields_max) {
                self.metrics.new_fields.inc();
                info!(pipeline = %self.metrics.name, %path, r#type = of, "events have a field that the learned schema does not declare: it is kept in _extra; {becomes}");
            }
        }
        self.tell_of_limits(&mut state);
    }

    /// Tells of the limits that are met, of each once.
    fn tell_of_limits(&self, state: &mut State) {
        let pipeline = &self.metrics.name;
        if state.evolution.unlisted() > 0 && !state.is_full {
            state.is_full = true;
            warn!(%pipeline, "events have more new fields than infer.fields_max: those beyond are kept in _extra, and not looked at before the next revision of the schema");
        }
        if state.is_told_out(self.infer.fields_max) && !state.is_silent {
            state.is_silent = true;
            warn!(%pipeline, "twice as many fields were told of as infer.fields_max: further ones are counted only");
        }
    }

    /// Tells of the issue of an event that is not of its schema's types.
    pub fn conflict(&self, issue: &Issue) {
        let what = format!("{} for {}", issue.actual, issue.expected);
        let mut state = self.state();
        if state.tell(&issue.path, &what, self.infer.fields_max) {
            warn!(pipeline = %self.metrics.name, path = %issue.path, learned = %issue.expected, found = %issue.actual, "events have another type in a field than was learned: they are dead letters; a schema_version of its own learns anew");
        }
        self.tell_of_limits(&mut state);
    }

    /// New fields that enough is known of by `now`, if they are to be declared. Those that are not, then, are asked about again.
    pub fn ripe(&self, now: DateTime<Utc>) -> Option<Ripe> {
        let mut state = self.state();
        if !state.is_adopting || state.pending.is_empty() {
            return None;
        }
        let mut events: HashMap<&str, u64> = HashMap::new();
        for field in state.evolution.fields().iter().filter(|field| field.type_name != "null") {
            *events.entry(&field.path).or_default() += field.events;
        }
        let of = |path: &str| events.get(path).copied().unwrap_or(0);
        let wanted = u64::try_from(self.infer.events).unwrap_or(u64::MAX);
        let is_ripe = |path: &str, pending: &Pending| {
            let seen = of(path) - pending.events;
            let is_old = (now - pending.since).to_std().is_ok_and(|age| age >= self.infer.patience);
            seen >= wanted || (seen > 0 && is_old)
        };
        let ripe = state.pending.iter().filter(|(path, pending)| is_ripe(path, pending));
        let mut ripe: Vec<_> = ripe.map(|(path, _)| (path.clone(), of(path))).collect();
        if ripe.is_empty() {
            return None;
        }
        ripe.sort();
        let learned = state.learner.fixed("");
        for (path, events) in &ripe {
            state.pending.insert(path.clone(), Pending { since: now, events: *events });
        }
        Some(Ripe { paths: ripe.into_iter().map(|(path, _)| path).collect(), learned })
    }

    /// A field that cannot be a column beside the others: it is not looked at again.
    pub fn leave(&self, path: &str, reason: &str) {
        self.state().pending.remove(path);
        warn!(pipeline = %self.metrics.name, path, reason, "a new field cannot be a column: it is kept in _extra");
    }
}

impl State {
    fn new(infer: &Infer, may_adopt: bool, schema: &Schema, learner: Learner, told: HashSet<(String, String)>) -> Self {
        let properties = schema.document().get("properties").and_then(Json::as_object);
        let has_columns = properties.is_some_and(|all| !all.is_empty());
        let (is_too_wide, is_silent) = (learner.is_too_wide(), told.len() >= 2 * infer.fields_max);
        Self {
            evolution: Evolution::new(schema, infer.fields_max),
            learner,
            pending: HashMap::new(),
            told,
            // Of a schema that was learned of no readable event all is new.
            is_adopting: may_adopt && !is_too_wide && (infer.new_fields == NewFields::Adopt || !has_columns),
            is_full: false,
            is_silent,
        }
    }

    /// Whether it was not told of before, and may be.
    fn tell(&mut self, path: &str, what: &str, fields_max: usize) -> bool {
        !self.is_told_out(fields_max) && self.told.insert((path.to_owned(), what.to_owned()))
    }

    fn is_told_out(&self, fields_max: usize) -> bool {
        self.told.len() >= 2 * fields_max
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::decode::{self, JsonDecoder};
    use crate::metrics::Metrics;
    use crate::schema::Language;

    fn schema(properties: &Json) -> Schema {
        let text = json!({ "type": "object", "properties": properties }).to_string();
        let read = |_: &Path| Ok(text.clone().into_bytes());
        Schema::load(&Language::JsonSchema, Path::new("/learned.json"), "orders", 1, &read).expect("a schema")
    }

    fn sightings(new_fields: NewFields, properties: &Json) -> Sightings {
        let infer = Infer { events: 3, patience: Duration::from_secs(60), new_fields, fields_max: 4 };
        Sightings::new(infer, true, Metrics::new("0").pipeline("orders", 1), &schema(properties))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn observe(sightings: &Sightings, seconds: i64, events: &[&str]) {
        let mut decoder = JsonDecoder::new(decode::Limits { body_bytes_max: 1 << 20, depth_max: 16 });
        for event in events {
            let read = decoder.decode(event.as_bytes(), |tape| sightings.observe(tape.root(), at(seconds)));
            read.expect("an event");
        }
    }

    #[test]
    fn a_field_is_ripe_once_enough_events_had_it_or_time_has_passed() {
        let sightings = sightings(NewFields::Adopt, &json!({"id": {}}));
        observe(&sightings, 0, &[r#"{"id":1}"#, r#"{"id":1,"a":1}"#, r#"{"a":2,"b":"x"}"#, r#"{"n":null}"#]);
        assert!(sightings.ripe(at(1)).is_none());
        observe(&sightings, 30, &[r#"{"a":null}"#]);
        assert!(sightings.ripe(at(31)).is_none(), "null says nothing");
        observe(&sightings, 31, &[r#"{"a":3}"#]);
        let ripe = sightings.ripe(at(31)).expect("three events had it");
        assert_eq!(ripe.paths, ["/a"]);
        assert_eq!(ripe.learned["properties"]["a"], json!({"type": ["integer", "null"]}));
        assert!(sightings.ripe(at(32)).is_none(), "it is asked about once");
        let ripe = sightings.ripe(at(60)).expect("a minute has passed");
        assert_eq!(ripe.paths, ["/b"]);
        assert_eq!(sightings.metrics.new_fields.get(), 2, "null has no type");
        sightings.renew(&schema(&json!({"id": {}, "a": {}})));
        observe(&sightings, 61, &[r#"{"a":1,"b":"y"}"#]);
        assert_eq!(sightings.metrics.new_fields.get(), 2, "what was told of is not told of again");
        assert_eq!(sightings.ripe(at(121)).expect("again").paths, ["/b"]);
        sightings.leave("/b", "it clashes");
        observe(&sightings, 122, &[r#"{"b":"y"}"#]);
        assert!(sightings.ripe(at(300)).is_none());
    }

    #[test]
    fn many_names_are_adopted_up_to_the_columns_there_may_be() {
        let sightings = sightings(NewFields::Adopt, &json!({"id": {}}));
        let event = |names: std::ops::Range<usize>| {
            let fields: Vec<_> = names.map(|n| format!("\"f{n}\":{n}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        observe(&sightings, 0, &[&event(0..2_000)]);
        assert_eq!(sightings.ripe(at(600)).map(|ripe| ripe.paths.len()), Some(4), "as many as are named");
        sightings.renew(&schema(&json!({"id": {}})));
        observe(&sightings, 601, &[&event(1_990..2_001)]);
        assert!(sightings.ripe(at(1_300)).is_none(), "none is a column beside 2,000 others");
        sightings.renew(&schema(&json!({"id": {}})));
        observe(&sightings, 1_301, &[&event(0..1)]);
        assert!(sightings.ripe(at(2_000)).is_none());
        let values: Vec<_> = (0..3_000).map(|n| format!(r#"{{"u{n}@example.com":1,"b":1}}"#)).collect();
        let many = self::sightings(NewFields::Adopt, &json!({"id": {}}));
        observe(&many, 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(many.ripe(at(600)).map(|ripe| ripe.paths), Some(vec!["/b".to_owned()]), "values do not count");
    }

    #[test]
    fn a_field_whose_name_is_a_value_is_never_ripe() {
        let sightings = sightings(NewFields::Adopt, &json!({"id": {}}));
        observe(&sightings, 0, &[r#"{"ann@example.com":1,"b":1}"#; 5]);
        assert_eq!(sightings.ripe(at(600)).map(|ripe| ripe.paths), Some(vec!["/b".to_owned()]));
        assert_eq!(sightings.metrics.new_fields.get(), 1, "it is no new field");
    }

    #[test]
    fn what_is_only_reported_is_counted_and_adopted_only_where_there_is_no_column_at_all() {
        let sightings = sightings(NewFields::Report, &json!({"id": {}}));
        observe(&sightings, 0, &[r#"{"a":1,"b":1,"c":1,"d":1,"e":1}"#; 5]);
        assert!(sightings.ripe(at(600)).is_none());
        assert_eq!(sightings.metrics.new_fields.get(), 4, "as many as are named");
        sightings.renew(&schema(&json!({})));
        observe(&sightings, 0, &[r#"{"a":1}"#; 5]);
        assert_eq!(sightings.ripe(at(600)).map(|ripe| ripe.paths), Some(vec!["/a".to_owned()]));
    }
}
