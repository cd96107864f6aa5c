//! Flow 1: broker (or file) -> decode -> validate -> archive | dead letters -> settle. It joins the parts, and is the
//! only place that settles deliveries.

mod arrival; // a delivery, and the dead letter it gives back
mod breaker; // what to do when most of what arrives fails
mod commit; // a sealed flush -> intent, objects, outcome
mod crashes; // how earlier runs ended, and how carefully to begin
mod judge; // one delivery -> a row, or why not
pub mod learned; // schemas that are learned of the events
mod lines; // lines of a file as a list
mod list; // the same path for a fixed list of deliveries, which resumes
mod pipeline; // shards: connect, run, connect again
mod plan; // what a pipeline's shards share, built once
mod repeats; // what is durable already of what comes again
mod schemas; // schemas of a registry, known before they are needed
mod select; // which type an event is of
mod shard; // one consumer's life: intake, worker, commits, acks
mod spans; // what a flush tells those who trace
mod succession; // a plan in the place of another
mod worker; // the CPU side of a shard: judge, batch, seal, encode

pub use arrival::{Arrival, Before, Given};
pub use commit::{Committer, Fate, FlushOf, await_store, chain};
pub use lines::{FileSource, lines};
pub use list::{Batch, List, ListError, ListParts, ListReport, Place, Watch, take_list};
pub use pipeline::{LookAt, PipelineParts, ShardPanicked, run_pipeline};
pub use plan::{EventPlan, Plan, PlanError, Plans, Surroundings, language};
pub use repeats::{GivenUp, LookBackLimits};
pub use schemas::Schemas;
pub use select::Wires;
pub use shard::Stop;
pub use spans::{FlushSpan, Spans, Stage};
pub use succession::{Difference, SuccessionError};
pub use worker::{Origin, Sealed, SealedObject, Worker};
