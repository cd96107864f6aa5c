//! The commit protocol: what a flush will write (its intent), and what became of it (its outcome).
//!
//! A flush begins by creating its intent, under `open/`, then creates its objects, then its outcome; the creation of the
//! outcome decides, for everybody, between *committed* and *aborted*. Whoever meets an intent without outcome whose owner
//! is dead, or which is older than the grace, creates the outcome *aborted* and deletes its objects. A committed flush's
//! intent is deleted, an aborted one's after its objects are gone for good. So `open/` holds only what is under way or
//! was left by a crash: resolving costs one small listing however many years of flushes lie beside it.
//!
//! ```text
//! meta/flushes/<pipeline>/open/<stem>.intent.json
//! meta/flushes/<pipeline>/<stem>.outcome.json        stays; that of an aborted flush bars a late commit for ever
//!   stem = <yyyy-mm-dd>/<ulid>-<instance>-<shard>-<epoch>        of a queue; the date is the first ULID's, in UTC
//!        | file-<digest>/<start offset, 20 digits>-<attempt, 4 digits>      of a file
//! ```

mod decide;
mod log;
mod name;
mod record;
mod resume;
#[cfg(test)]
mod tests;

pub use decide::{Here, Liveness};
pub use log::{Decision, Flush, FlushError, FlushLog, FlushState, Resolved};
pub use name::{Epoch, FlushName};
pub use record::{Committed, FileEnd, Intent, Outcome, Owner, Source, StoredObject, Verdict};
pub use resume::Resume;
