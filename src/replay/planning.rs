//! A plan from what was asked for: the letters found, those left out and why, everything frozen.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use crate::config::PipelineKind;
use crate::dlq::attempts::{AttemptOutcome, AttemptRecord};
use crate::dlq::filter::{Filter, LetterState};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::{Event, Said};
use crate::dlq::record::Summary;
use crate::dlq::records::{Order, Unreadable};
use crate::replay::candidate::{self, Candidate, CandidateError};
use crate::replay::destination::{Destination, Sending};
use crate::replay::fix::{Fix, FixError};
use crate::replay::manifest::{self, Line};
use crate::replay::plan::{self, Against, FixText, Plan, PlanError, Selection, Terms};
use crate::replay::{ReplayError, Replays};

/// Times a letter is given back with the same mend, or with none, before it is left out of plans.
const ATTEMPTS_MAX: usize = 3;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    pub pipeline: String,
    /// Its pipeline and its state are ours to fill in.
    pub filter: Filter,
    /// The letters of that job, in the place of a filter.
    pub of_job: Option<Ulid>,
    pub fix: Option<FixText>,
    pub candidate: Option<Candidate>,
    pub destination: Destination,
    pub sending: Sending,
    pub canary: bool,
    pub why: Option<String>,
}

/// A plan, and what was not taken into it.
#[derive(Clone, Debug)]
pub struct Planned {
    pub plan: Plan,
    /// It was made before; this is the one that stands.
    pub known: bool,
    /// Letters that were given back too often already with the same mend.
    pub exhausted: u64,
    /// What the fix does, a line a step.
    pub steps: Vec<String>,
}

/// Why no plan is made.
#[derive(Debug, thiserror::Error)]
pub enum PlanningError {
    #[error("no dead letter of pipeline {pipeline} is meant{left_out}: nothing to plan")]
    Empty { pipeline: String, left_out: String },
    #[error(transparent)]
    Fix(#[from] FixError),
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("job {0} gave back nothing, or is not known any more")]
    NothingOfJob(Ulid),
    #[error(
        "the letters of {pipeline} died in {}, and {}: select those of one queue (--queue), set replay_to, or send them to a broker (--to)",
        queues.join(", "),
        if targets.is_empty() { "no pipeline takes from there".to_owned() } else { format!("are for {}", targets.join(", ")) }
    )]
    NoTarget { pipeline: String, queues: Vec<String>, targets: Vec<String> },
}

/// A letter found.
struct Found {
    received_at: DateTime<Utc>,
    line: Line,
    /// Where it died.
    queue: Arc<str>,
    groups: Vec<GroupId>,
}

impl Replays {
    /// Freezes what `request` means now.
    ///
    /// # Errors
    /// See [`PlanningError`] and [`ReplayError`].
    pub async fn plan(&self, request: &PlanRequest, actor: &str) -> Result<Planned, ReplayError> {
        let fix = request.fix.as_ref().map(|fix| Fix::parse(&fix.text, &fix.name)).transpose();
        let fix = fix.map_err(PlanningError::Fix)?;
        if self.config.pipeline(&request.pipeline).is_none() {
            return Err(ReplayError::NoPipeline(request.pipeline.clone()));
        }
        let (selection, mut found) = self.select(request).await?;
        let exhausted = match selection.again() {
            true => 0,
            false => self.leave_out_exhausted(request, &mut found).await?,
        };
        if found.is_empty() {
            let left_out = match exhausted {
                0 => String::new(),
                letters => {
                    format!(", but {letters} that were given back {ATTEMPTS_MAX} times already with the same mend")
                }
            };
            return Err(PlanningError::Empty { pipeline: request.pipeline.clone(), left_out }.into());
        }
        let into = self.judge_of(request, &found)?;
        let current = self.compiled(into.as_ref().unwrap_or(&request.pipeline))?;
        candidate::compiled(Arc::clone(&current), request.candidate.as_ref()).map_err(PlanningError::Candidate)?;
        found.sort_by_key(|found| (found.received_at, found.line.letter));
        let mut groups = BTreeMap::<GroupId, u64>::new();
        for group in found.iter().flat_map(|found| &found.groups) {
            *groups.entry(group.clone()).or_default() += 1;
        }
        let lines: Vec<Line> = found.into_iter().map(|found| found.line).collect();
        let terms = Terms {
            pipeline: request.pipeline.clone(),
            into,
            selection,
            letters: lines.len() as u64,
            body_bytes: lines.iter().map(|line| line.body_bytes).sum(),
            manifest_sha256: manifest::hash(&lines),
            groups,
            fix: request.fix.clone(),
            candidate: request.candidate.clone(),
            destination: request.destination.clone(),
            sending: request.sending.clone(),
            canary: request.canary,
            against: Against::now(&current),
        };
        let steps = fix.as_ref().map(Fix::describe).unwrap_or_default();
        self.keep(terms, lines, request.why.as_deref(), actor, exhausted, steps).await
    }

    /// The pipeline that judges the letters found, if it is not their own.
    fn judge_of(&self, request: &PlanRequest, found: &[Found]) -> Result<Option<String>, PlanningError> {
        let name = &request.pipeline;
        if self.config.pipeline(name).is_some_and(|own| own.kind == PipelineKind::Events) {
            return Ok(None);
        }
        let queues: BTreeSet<&str> = found.iter().map(|found| &*found.queue).collect();
        let target = |queue: &&str| self.config.replay_target(name, queue).map(|target| target.name.clone());
        let all: BTreeSet<Option<String>> = queues.iter().map(target).collect();
        match Vec::from_iter(all).as_slice() {
            [Some(one)] => Ok(Some(one.clone())),
            // Whoever consumes there judges them.
            _ if request.destination != Destination::Pipeline => Ok(None),
            several => Err(PlanningError::NoTarget {
                pipeline: name.clone(),
                queues: queues.into_iter().map(str::to_owned).collect(),
                targets: several.iter().flatten().cloned().collect(),
            }),
        }
    }

    async fn keep(
        &self,
        terms: Terms,
        lines: Vec<Line>,
        why: Option<&str>,
        actor: &str,
        exhausted: u64,
        steps: Vec<String>,
    ) -> Result<Planned, ReplayError> {
        let now = (self.surroundings.now)();
        let plan = Plan::new(terms, now, actor, why);
        let stored = plan.clone().store(&self.store, &lines).await?;
        let known = stored != plan;
        if !known {
            let said = Said { at: now, actor: actor.to_owned(), reason: why.map(str::to_owned) };
            let (plan, pipeline) = (stored.hash.clone(), stored.terms.pipeline.clone());
            let event = Event::Planned { plan, pipeline, letters: stored.terms.letters };
            let mut state = self.log.load().await?;
            self.log.append(&mut state, &said, &event).await?;
        }
        Ok(Planned { plan: stored, known, exhausted, steps })
    }

    async fn select(&self, request: &PlanRequest) -> Result<(Selection, Vec<Found>), ReplayError> {
        let pipeline = Some(request.pipeline.clone());
        if let Some(job) = request.of_job {
            let wanted = self.recovered_by(job).await?;
            let mut found = self.found(&Filter { pipeline, ..Filter::default() }).await?;
            found.retain(|found| wanted.contains(&found.line.letter));
            if found.is_empty() {
                return Err(PlanningError::NothingOfJob(job).into());
            }
            return Ok((Selection { filter: None, of_job: Some(job.to_string()) }, found));
        }
        let asked = Filter { pipeline, ..request.filter.clone() };
        let found = self.found(&Filter { state: Some(LetterState::Dead), ..asked.clone() }).await?;
        Ok((Selection { filter: Some(asked), of_job: None }, found))
    }

    async fn found(&self, filter: &Filter) -> Result<Vec<Found>, ReplayError> {
        let tell = |letter: &Summary<'_>| {
            let mut groups: Vec<GroupId> = Vec::new();
            for group in letter.issues.iter().filter_map(|issue| GroupId::parse(issue.group)) {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
            let line = Line { letter: letter.id, dead_at: letter.dead_at, body_bytes: letter.body_bytes };
            let queue = letter.original_queue.unwrap_or(letter.queue).into();
            Found { received_at: letter.received_at, line, queue, groups }
        };
        let (mut found, mut queues) = (Vec::new(), BTreeSet::<Arc<str>>::new());
        let each = |mut letter: Found| {
            // There are few queues, and many letters.
            match queues.get(&letter.queue) {
                Some(known) => letter.queue = Arc::clone(known),
                None => drop(queues.insert(Arc::clone(&letter.queue))),
            }
            found.push(letter);
            ControlFlow::Continue(())
        };
        let unreadable = self.records.summaries(filter, Order::OldestFirst, tell, each).await?;
        match unreadable.into_iter().next() {
            // What cannot be read may be meant.
            Some(file) => Err(PlanningError::Unreadable(file).into()),
            None => Ok(found),
        }
    }

    /// The letters that `job` recovered.
    async fn recovered_by(&self, job: Ulid) -> Result<HashSet<Ulid>, ReplayError> {
        let recovered: Vec<Ulid> = self.attempts.recovered().await?.iter().collect();
        let attempts = self.attempts.of(&recovered).await?;
        let by_job = |attempt: &AttemptRecord| attempt.job == Some(job) && attempt.outcome == AttemptOutcome::Recovered;
        Ok(attempts.into_iter().filter(|(_, tried)| tried.iter().any(by_job)).map(|(letter, _)| letter).collect())
    }

    /// Leaves out letters that failed [`ATTEMPTS_MAX`] times with the mend of the request; gives how many.
    async fn leave_out_exhausted(&self, request: &PlanRequest, found: &mut Vec<Found>) -> Result<u64, ReplayError> {
        let ids: Vec<Ulid> = found.iter().map(|found| found.line.letter).collect();
        let attempts = self.attempts.of(&ids).await?;
        let mend = plan::mend(request.fix.as_ref(), request.candidate.as_ref());
        let mut mends = HashMap::new();
        let mut exhausted = HashSet::new();
        for (letter, tried) in attempts {
            let mut same = 0;
            for attempt in tried.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Failed) {
                let met = match attempt.job {
                    None => None,
                    Some(job) => self.mend_of(job, &mut mends).await?,
                };
                same += usize::from(met == mend);
            }
            if same >= ATTEMPTS_MAX {
                exhausted.insert(letter);
            }
        }
        found.retain(|found| !exhausted.contains(&found.line.letter));
        Ok(exhausted.len() as u64)
    }

    /// What a job mended letters with; nothing, if it is not known any more.
    async fn mend_of(
        &self,
        job: Ulid,
        known: &mut HashMap<Ulid, Option<String>>,
    ) -> Result<Option<String>, ReplayError> {
        if let Some(mend) = known.get(&job) {
            return Ok(mend.clone());
        }
        let state = self.log.load().await?;
        let mend = match state.job(job) {
            Some(job) => match plan::read(&self.store, &job.plan).await {
                Ok(plan) => plan.terms.mend(),
                Err(PlanError::Store(failure)) => return Err(failure.into()),
                Err(_) => None,
            },
            None => None,
        };
        known.insert(job, mend.clone());
        Ok(mend)
    }
}
