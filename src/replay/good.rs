//! The mend of a plan over good events of the archive: what is good now must stay good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tracing::warn;

use crate::archive::{self, GoodEvent};
use crate::config;
use crate::decode::cloudevents::{self, Mode};
use crate::dlq::fingerprint::GroupId;
use crate::event::Delivery;
use crate::ingest::{self, Arrival, Batch, Sealed, Stop, chain};
use crate::replay::dry_run::{Sink, Trial, dead_letters, telling};
use crate::replay::fix::Fix;
use crate::replay::fix::body::of_json;
use crate::replay::report::{Found, GoodReport, Mended, example};
use crate::replay::{ReplayError, Replays};
use crate::schema::columns::columns;
use crate::schema::hints;

/// Events judged in one go.
const BATCH_EVENTS: usize = 1024;

/// The newest files of the archive that good events are taken from, at most.
const FILES_MAX: usize = 64;

impl Replays {
    /// About `most` of the newest good events of a pipeline, of as many of its newest files as there are.
    /// With the place of the type of each.
    pub(super) async fn recent_good(
        &self,
        plan: &ingest::Plan,
        most: usize,
    ) -> Result<Vec<(usize, GoodEvent)>, ReplayError> {
        let mut events = Vec::new();
        let each = most.div_ceil(plan.events.len());
        for (place, event) in plan.events.iter().enumerate() {
            let dataset = event.dataset(&plan.config.name);
            let of_type = self.recent_good_of(event, &dataset, each.min(most - events.len())).await?;
            events.extend(of_type.into_iter().map(|event| (place, event)));
        }
        Ok(events)
    }

    /// The same of one type, below the directory `dataset`.
    async fn recent_good_of(
        &self,
        plan: &ingest::EventPlan,
        dataset: &str,
        most: usize,
    ) -> Result<Vec<GoodEvent>, ReplayError> {
        let mut newest = BTreeSet::new();
        let mut entries = self.store.list(dataset, None);
        while let Some(entry) = entries.try_next().await? {
            // Names begin with the ULID of the flush.
            let name = entry.path.rsplit('/').next().unwrap_or_default().to_owned();
            newest.insert((name, entry.path));
            if newest.len() > FILES_MAX {
                newest.pop_first();
            }
        }
        let each = most.div_ceil(newest.len().max(1));
        let hints = Arc::new(hints(&plan.schema));
        let columns = Arc::new(columns(&plan.schema).map_err(ingest::PlanError::from)?.fields);
        let mut events = Vec::new();
        for (_, path) in newest.into_iter().rev() {
            let Some(file) = self.store.get_if_exists(&path).await? else { continue };
            let (hints, columns) = (Arc::clone(&hints), Arc::clone(&columns));
            let limit = each.min(most - events.len());
            let read = tokio::task::spawn_blocking(move || archive::rows(file, limit, &columns, &hints)).await;
            match read {
                Ok(Ok(rows)) => events.extend(rows),
                Ok(Err(error)) => {
                    warn!(path, error = chain(&error), "a file of the archive cannot be read: its events are not tried")
                }
                Err(_) => warn!(path, "a file of the archive is broken: its events are not tried"),
            }
        }
        Ok(events)
    }

    /// Tries `fix` and the schema of `compiled` on `events`, which are good by the pipeline as it is, `current`.
    pub(super) async fn try_good(
        &self,
        current: Arc<ingest::Plan>,
        compiled: Arc<ingest::Plan>,
        fix: Option<Arc<Fix>>,
        events: Vec<(usize, GoodEvent)>,
        stop: &Stop,
    ) -> Result<GoodReport, ReplayError> {
        let types = &compiled.events;
        // What was rebuilt has not all that tells its type.
        let fixes: Option<Vec<Fix>> =
            fix.map(|fix| (0..types.len()).map(|place| Fix::clone(&fix).on(compiled.wires_of(place))).collect());
        let mut report = GoodReport { events: events.len() as u64, ..GoodReport::default() };
        report.rebuilt = events.iter().filter(|(_, event)| !event.as_received).count() as u64;
        let received_at = (self.surroundings.now)();
        let numbered = (1..).zip(events);
        let arrivals = numbered.map(|(tag, (place, event))| {
            let message = in_format(event, &types[place]).message;
            Arrival { event: Some(place), ..Arrival::new(Delivery { tag, received_at, message }) }
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        // What cannot be told from what was sent fails as things are: the mend is not to blame.
        let mut now = Broken::default();
        Trial::new(self, current).take(batches(arrivals.clone()), stop, &mut now, &|_| {}).await?;
        report.unusable = now.tags.len() as u64;
        let usable = arrivals.into_iter().filter(|arrival| !now.tags.contains_key(&arrival.delivery.tag));
        let mended = Arc::new(Mutex::new(Mended::default()));
        let mut arrivals = Vec::new();
        for mut arrival in usable {
            if let Some(fixes) = &fixes {
                let place = arrival.event.expect("it was told above");
                let fixed = fixes[place].apply(&arrival.delivery.message);
                telling(&mended, compiled.wires_of(place))(&arrival.delivery.message, fixed.as_ref());
                match fixed {
                    Ok(fixed) => arrival.delivery.message = fixed,
                    Err(_) => {
                        report.broken += 1;
                        continue;
                    }
                }
            }
            arrivals.push(arrival);
        }
        let mut broken = Broken::default();
        Trial::new(self, Arc::clone(&compiled)).take(batches(arrivals), stop, &mut broken, &|_| {}).await?;
        report.broken += broken.tags.len() as u64;
        broken.tags.values().flatten().for_each(|id| example(&mut report.examples, id));
        report.found = broken.found.into_sorted();
        let mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        (report.changed, report.changes, report.unmended) = (mended.changed, mended.changes(), mended.unmended());
        Ok(report)
    }
}

/// One that was rebuilt is JSON; as a body of the pipeline's format, if that can hold it, in the envelope it came in.
fn in_format(mut event: GoodEvent, plan: &ingest::EventPlan) -> GoodEvent {
    let attributes = event.cloud_event.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let is_wrapped = attributes.is_some() && Mode::of(&event.message).ok() != Some(Mode::Binary);
    let message = &mut event.message;
    // The property is not archived.
    message.properties.content_type = match &attributes {
        None => None,
        Some(_) if is_wrapped => Some(cloudevents::STRUCTURED.to_owned()),
        Some(attributes) => attributes.get("datacontenttype").and_then(|value| value.as_str()).map(str::to_owned),
    };
    if event.as_received {
        return event;
    }
    match attributes {
        Some(attributes) if is_wrapped && plan.reads_json && plan.config.native() != config::Format::Avro => {
            message.body = cloudevents::wrapped(&attributes, "data", &message.body);
        }
        Some(attributes) if is_wrapped => {
            let data = of_json(&plan.wire, &message.body).unwrap_or_default();
            let data = serde_json::Value::from(BASE64.encode(data)).to_string();
            message.body = cloudevents::wrapped(&attributes, "data_base64", data.as_bytes());
        }
        _ => {
            if let Some(body) = of_json(&plan.wire, &message.body) {
                message.body = body;
            }
        }
    }
    event
}

fn batches(arrivals: Vec<Arrival>) -> mpsc::Receiver<Batch> {
    let (batches_tx, batches) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut arrivals = arrivals.into_iter().peekable();
        while arrivals.peek().is_some() {
            let batch = Batch { arrivals: arrivals.by_ref().take(BATCH_EVENTS).collect(), ..Batch::default() };
            if batches_tx.send(batch).await.is_err() {
                return;
            }
        }
    });
    batches
}

/// The events that fail, by their tags, with their ids.
#[derive(Default)]
struct Broken {
    tags: BTreeMap<u64, Option<String>>,
    found: Found,
}

impl Sink for Broken {
    fn flush(&mut self, sealed: Sealed) {
        let none = BTreeMap::<GroupId, u64>::new();
        for letter in dead_letters(&sealed) {
            self.found.add(&letter.issues, letter.message.body.len() as u64, &none);
            self.tags.insert(letter.delivery_tag, letter.event_id);
        }
        sealed.receipt.settle(&sealed.tally);
    }
}
