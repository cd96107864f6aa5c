//! What a shard waits for, each as a future that never ends where there is nothing to wait for.

use std::sync::Arc;

use tokio::task::JoinError;
use tokio::time::Instant;

use super::{BATCH_DELIVERIES_MAX, Commit, Found, LookUp, Work, Written};
use crate::broker::{Ended, Intake};
use crate::event::Delivery;
use crate::ingest::repeats::GivenUp;
use crate::ingest::worker::{Sealed, Worker};
use crate::ingest::{Plan, Plans};

/// The end of the write in flight; never, when there is none.
pub(super) async fn written(commit: &mut Option<Commit>) -> Box<Written> {
    match commit {
        Some(commit) => join(&mut commit.task).await,
        None => std::future::pending().await,
    }
}

/// The plan that takes the place of the one in use; never, when none will.
pub(super) async fn next_plan(plans: &mut Plans) -> Arc<Plan> {
    match plans.changed().await {
        Ok(()) => Arc::clone(&plans.borrow_and_update()),
        Err(_) => std::future::pending().await,
    }
}

/// The end of the look-up under way; never, when there is none.
pub(super) async fn looked_up(look_up: &mut Option<LookUp>) -> Result<Found, GivenUp> {
    match look_up {
        Some(look_up) => join(&mut look_up.task).await,
        None => std::future::pending().await,
    }
}

/// The end of the worker's work; never, when it is idle.
pub(super) async fn worked(work: &mut Option<Work>) -> (Box<Worker>, Vec<Sealed>) {
    match work {
        Some(task) => join(task).await,
        None => std::future::pending().await,
    }
}

/// The result of a task that is never aborted; its panic is ours.
pub(in crate::ingest) async fn join<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match task.await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The next deliveries; while none are wanted, only the loss of the channel.
pub(super) async fn take(intake: &mut dyn Intake, wanted: bool) -> Result<Vec<Delivery>, Ended> {
    if wanted { intake.next(BATCH_DELIVERIES_MAX).await } else { Err(intake.lost().await) }
}

/// At that instant; never, without one.
pub(in crate::ingest) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
