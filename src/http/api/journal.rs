//! What callers do, in the log of the dead letters, which is the audit.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tracing::warn;
use ulid::Ulid;

use super::access::Caller;
use super::problem::Problem;
use crate::config::Role;
use crate::dlq::decide::{self, DecideError, Decision};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::groups::Group;
use crate::dlq::life;
use crate::dlq::log::{Event, Log, LogError, Said, State};

/// The log, and what it came to as far as this process has read it.
pub(super) struct Journal {
    log: Log,
    now: fn() -> DateTime<Utc>,
    state: Mutex<Option<State>>,
}

impl Journal {
    pub(super) fn new(log: Log, now: fn() -> DateTime<Utc>) -> Self {
        Self { log, now, state: Mutex::default() }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Notes that `caller` is shown what a letter holds. A viewer is shown what anybody may see, which nobody asks for.
    /// Without the note nothing is shown.
    pub(super) async fn read(&self, caller: &Caller, letter: Ulid) -> Result<(), Problem> {
        if caller.role == Role::Viewer {
            return Ok(());
        }
        let said = Said::by((self.now)(), &caller.name);
        let mut held = self.state.lock().await;
        let mut state = self.known(&mut held).await?;
        let appended = self.log.append(&mut state, &said, &Event::PayloadRead { letter }).await;
        *held = Some(state);
        appended.map(drop).map_err(|error| of_log(&error))
    }

    /// Decides about a group, of which there are letters.
    pub(super) async fn decide(&self, group: &GroupId, decision: &Decision, said: &Said) -> Result<(), Problem> {
        let mut held = self.state.lock().await;
        let mut state = self.known(&mut held).await?;
        let groups = std::slice::from_ref(group);
        let decided = decide::decide(&self.log, &mut state, |_| true, groups, decision, said).await;
        *held = Some(state);
        match decided {
            Ok(_) => Ok(()),
            Err(DecideError::Log { source, .. }) => Err(of_log(&source)),
            Err(other) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, other.to_string())),
        }
    }

    /// Gives each of `groups` its state. What cannot be trusted of the log is left out, and noted.
    pub(super) async fn stand(&self, groups: &mut [Group]) -> Result<(), Problem> {
        let mut held = self.state.lock().await;
        let mut state = held.take().unwrap_or_default();
        let refreshed = self.log.refresh(&mut state).await;
        life::stand(groups, &state);
        match refreshed {
            Ok(()) => *held = Some(state),
            Err(error @ LogError::Broken { .. }) => {
                warn!(error = %crate::ingest::chain(&error), "states of groups are those before the log was broken");
            }
            Err(error) => return Err(of_log(&error)),
        }
        Ok(())
    }

    /// What was read last, or else all of it.
    async fn known(&self, held: &mut Option<State>) -> Result<State, Problem> {
        match held.take() {
            Some(state) => Ok(state),
            None => self.log.load().await.map_err(|error| of_log(&error)),
        }
    }
}

/// What a failure of the log is to who asked.
pub(super) fn of_log(error: &LogError) -> Problem {
    match error {
        LogError::Store(error) => Problem::of_store(error),
        LogError::Conflict(conflict) => Problem::new(StatusCode::CONFLICT, conflict.to_string()),
        LogError::Broken { seq, .. } => {
            warn!(error = %crate::ingest::chain(error), "the log of dead letters is broken");
            let detail =
                format!("entry {seq} of the log of dead letters cannot be trusted; `parqueduct dlq audit verify`");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        }
    }
}
