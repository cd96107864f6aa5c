//! When most of what a pipeline takes fails: the breaker trips. What it then does depends on whose trouble it is: dead
//! letters go on being made and the alarm is raised, or nothing is consumed until a probe of a few events goes well. What
//! is held when it trips goes back to the queue, once; the events of a probe are settled as any others, for each time
//! something is given back may count against a delivery limit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::{self, OnTrip};
use crate::metrics::PipelineMetrics;
use crate::rejection::Class;

/// Events of a probe.
pub const PROBE_EVENTS: u16 = 20;

/// How often the wait before a probe doubles.
const DOUBLINGS_MAX: u32 = 5;

/// How long a shard that pauses waits for the others.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Parts of the time looked back on; what is older than all of it goes part by part.
const PARTS: u32 = 10;

/// What became of events when they were judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub good: u64,
    /// By [`Class`].
    pub bad: [u64; Class::ALL.len()],
    /// Known already: that is no news.
    pub repeats: u64,
}

impl Judged {
    /// Without repeats.
    pub fn total(&self) -> u64 {
        self.good + self.bad.iter().sum::<u64>()
    }

    fn add(&mut self, other: Judged) {
        self.good += other.good;
        self.repeats += other.repeats;
        self.bad.iter_mut().zip(other.bad).for_each(|(bad, more)| *bad += more);
    }

    /// Whether more than `ratio` of them failed in that way.
    fn exceeds(&self, class: Class, ratio: f64) -> bool {
        self.bad[class as usize] as f64 > ratio * self.total() as f64
    }
}

/// Of one pipeline, for all its shards.
pub struct Breaker {
    pipeline: String,
    config: config::Breaker,
    metrics: Arc<PipelineMetrics>,
    state: Mutex<State>,
    /// Whether nothing is consumed.
    paused: watch::Sender<bool>,
    /// Shards with a consumer.
    consumers: watch::Sender<usize>,
}

struct State {
    recent: Recent,
    open: [bool; Class::ALL.len()],
    /// Somebody is probing.
    probing: bool,
    /// Before it, nobody probes.
    next_probe: Instant,
    wait: Duration,
    resumed_at: Option<Instant>,
}

/// What was judged within a time, in parts of it.
struct Recent {
    within: Duration,
    parts: VecDeque<(Instant, Judged)>,
}

impl Recent {
    fn add(&mut self, judged: Judged, now: Instant) {
        match self.parts.back_mut() {
            Some((since, part)) if now - *since < self.within / PARTS => part.add(judged),
            _ => self.parts.push_back((now, judged)),
        }
    }

    fn sum(&mut self, now: Instant) -> Judged {
        while self.parts.front().is_some_and(|(since, _)| now - *since >= self.within) {
            self.parts.pop_front();
        }
        let mut sum = Judged::default();
        self.parts.iter().for_each(|(_, part)| sum.add(*part));
        sum
    }
}

/// A shard's turn to consume.
pub enum Turn {
    Free,
    /// Only so many events, for all shards.
    Probe(Probe),
}

/// The right to probe; when it is dropped without a verdict, another may.
pub struct Probe {
    breaker: Arc<Breaker>,
    judged: Judged,
    decided: bool,
}

/// A consumer that is there.
pub struct Consuming(Arc<Breaker>);

impl Drop for Consuming {
    fn drop(&mut self) {
        self.0.consumers.send_modify(|consumers| *consumers -= 1);
    }
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too few events yet.
    Pending,
    /// Consuming goes on.
    Passed,
    Failed,
}

impl Breaker {
    pub fn new(pipeline: &str, config: config::Breaker, metrics: Arc<PipelineMetrics>) -> Self {
        let recent = Recent { within: config.within, parts: VecDeque::new() };
        let wait = config.pause;
        let state = State {
            recent,
            open: [false; Class::ALL.len()],
            probing: false,
            next_probe: Instant::now(),
            wait,
            resumed_at: None,
        };
        let (paused, consumers) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { pipeline: pipeline.to_owned(), config, metrics, state: Mutex::new(state), paused, consumers }
    }

    /// Notes a consumer, for as long as it is held.
    pub fn consuming(self: &Arc<Self>) -> Consuming {
        self.consumers.send_modify(|consumers| *consumers += 1);
        Consuming(Arc::clone(self))
    }

    /// Waits, but not for ever, until no shard has a consumer: what one gives back before would go to another, which gives
    /// it back again.
    pub async fn all_stopped(&self) {
        let mut consumers = self.consumers.subscribe();
        let stopped = consumers.wait_for(|consumers| *consumers == 0);
        if tokio::time::timeout(STOPPED_WITHIN, stopped).await.is_err() {
            warn!(pipeline = %self.pipeline, "a shard did not stop consuming in time: some events may go back more than once");
        }
    }

    /// Counts what was judged. `true`: nothing is to be consumed any more, and what is held goes back.
    pub fn note(&self, judged: Judged, now: Instant) -> bool {
        let mut state = self.lock();
        if *self.paused.borrow() {
            // Judged before that was known; it goes back.
            return true;
        }
        state.recent.add(judged, now);
        self.weigh(&mut state, now)
    }

    /// Looks again, though nothing was judged: what is long ago counts no more.
    pub fn look(&self, now: Instant) {
        let mut state = self.lock();
        if !*self.paused.borrow() {
            self.weigh(&mut state, now);
        }
    }

    /// Opens and closes by what was judged of late; whether to pause.
    fn weigh(&self, state: &mut State, now: Instant) -> bool {
        let sum = state.recent.sum(now);
        let mut pauses = false;
        for class in Class::ALL {
            let trips = sum.total() >= self.config.events && sum.exceeds(class, self.config.ratio);
            let open = state.open[class as usize];
            if trips && !open {
                self.trip(state, class, sum);
                pauses |= self.on_trip(class) == OnTrip::Pause;
            } else if open && !sum.exceeds(class, self.config.ratio / 2.0) {
                self.close(state, class);
            }
        }
        if pauses {
            self.pause(state, now);
        }
        pauses
    }

    fn on_trip(&self, class: Class) -> OnTrip {
        match class {
            Class::Schema => self.config.schema,
            Class::Ours => self.config.ours,
        }
    }

    fn trip(&self, state: &mut State, class: Class, sum: Judged) {
        state.open[class as usize] = true;
        self.metrics.breaker_trips[class as usize].inc();
        self.metrics.breaker_open[class as usize].set(1.0);
        let (pipeline, class_name) = (&self.pipeline, class.as_str());
        let (failed, judged) = (sum.bad[class as usize], sum.total());
        match self.on_trip(class) {
            OnTrip::Divert => {
                error!(%pipeline, class = class_name, failed, judged, "the breaker is open: most events fail, and go on becoming dead letters; `parqueduct dlq groups` says why");
            }
            OnTrip::Pause => {
                error!(%pipeline, class = class_name, failed, judged, "the breaker is open: most events fail, so what is held goes back to the queue, and nothing is consumed until a probe goes well; `parqueduct dlq groups` says why");
            }
        }
    }

    fn close(&self, state: &mut State, class: Class) {
        state.open[class as usize] = false;
        self.metrics.breaker_open[class as usize].set(0.0);
        info!(pipeline = %self.pipeline, class = class.as_str(), "the breaker is closed: events are good again");
    }

    fn pause(&self, state: &mut State, now: Instant) {
        // A breaker that trips again soon has learnt nothing from the last probe.
        let soon = state.resumed_at.is_some_and(|resumed| now - resumed < state.wait * 2);
        state.wait = if soon { self.longer(state.wait) } else { self.config.pause };
        state.next_probe = now + state.wait;
        state.recent.parts.clear();
        self.paused.send_replace(true);
    }

    fn longer(&self, wait: Duration) -> Duration {
        (wait * 2).min(self.config.pause * 2_u32.pow(DOUBLINGS_MAX))
    }

    /// Ends when nothing is to be consumed.
    pub async fn paused(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives as long as we do.
        let _ = paused.wait_for(|paused| *paused).await;
    }

    /// Waits for a turn.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        let mut paused = self.paused.subscribe();
        loop {
            paused.mark_unchanged();
            let next_probe = {
                let mut state = self.lock();
                if !*self.paused.borrow() {
                    return Turn::Free;
                }
                if !state.probing && Instant::now() >= state.next_probe {
                    state.probing = true;
                    info!(pipeline = %self.pipeline, events = PROBE_EVENTS, "probing whether events are good again");
                    return Turn::Probe(Probe { breaker: Arc::clone(self), judged: Judged::default(), decided: false });
                }
                (!state.probing).then_some(state.next_probe)
            };
            tokio::select! {
                _ = paused.changed() => {}
                () = crate::ingest::shard::due(next_probe) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Counts what was judged; after `wanted` deliveries there is a verdict.
    pub fn note(&mut self, judged: Judged, wanted: u64, now: Instant) -> Verdict {
        self.judged.add(judged);
        if self.judged.total() + self.judged.repeats < wanted {
            return Verdict::Pending;
        }
        self.decided = true;
        let breaker = Arc::clone(&self.breaker);
        let mut state = breaker.lock();
        state.probing = false;
        let pauses = |class: Class| breaker.on_trip(class) == OnTrip::Pause;
        let fails = |class: Class| pauses(class) && self.judged.exceeds(class, breaker.config.ratio);
        if Class::ALL.into_iter().any(fails) {
            state.wait = breaker.longer(state.wait);
            state.next_probe = now + state.wait;
            warn!(pipeline = %breaker.pipeline, wait = ?state.wait, "the breaker stays open: most events of a probe failed, and are dead letters");
            breaker.paused.send_modify(|_| {});
            return Verdict::Failed;
        }
        for class in Class::ALL {
            if pauses(class) && state.open[class as usize] {
                breaker.close(&mut state, class);
            }
        }
        state.resumed_at = Some(now);
        breaker.paused.send_replace(false);
        Verdict::Passed
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.decided {
            self.breaker.lock().probing = false;
            self.breaker.paused.send_modify(|_| {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn good(good: u64) -> Judged {
        Judged { good, ..Judged::default() }
    }

    fn bad(class: Class, count: u64) -> Judged {
        let mut judged = Judged::default();
        judged.bad[class as usize] = count;
        judged
    }

    fn breaker(schema: OnTrip) -> Arc<Breaker> {
        let config = config::Breaker {
            ratio: 0.5,
            events: 100,
            within: Duration::from_secs(60),
            schema,
            ours: OnTrip::Pause,
            pause: Duration::from_secs(30),
        };
        Arc::new(Breaker::new("flights", config, Metrics::new("1").pipeline("flights", 1)))
    }

    fn trips(breaker: &Breaker, class: Class) -> (u64, bool) {
        let at = class as usize;
        (breaker.metrics.breaker_trips[at].get(), breaker.metrics.breaker_open[at].get() > 0.5)
    }

    async fn probe(breaker: &Arc<Breaker>) -> Probe {
        match breaker.turn().await {
            Turn::Probe(probe) => probe,
            Turn::Free => panic!("it is closed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_trips_only_on_more_than_its_share_of_enough_events() {
        let breaker = breaker(OnTrip::Divert);
        let now = Instant::now();
        breaker.note(bad(Class::Schema, 99), now);
        assert_eq!(trips(&breaker, Class::Schema), (0, false), "too few");
        breaker.note(good(99), now);
        assert_eq!(trips(&breaker, Class::Schema), (0, false), "half of them is not more than half");
        assert!(!breaker.note(bad(Class::Schema, 1), now), "it diverts");
        assert_eq!(trips(&breaker, Class::Schema), (1, true));
        assert_eq!(trips(&breaker, Class::Ours), (0, false));
        // It closes well below, and not at the first good event.
        breaker.note(good(50), now);
        assert_eq!(trips(&breaker, Class::Schema), (1, true));
        breaker.note(good(200), now);
        assert_eq!(trips(&breaker, Class::Schema), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_ago_does_not_count() {
        let breaker = breaker(OnTrip::Divert);
        breaker.note(bad(Class::Schema, 90), Instant::now());
        tokio::time::advance(Duration::from_secs(61)).await;
        breaker.note(bad(Class::Schema, 90), Instant::now());
        assert_eq!(trips(&breaker, Class::Schema), (0, false));
        breaker.note(bad(Class::Schema, 90), Instant::now());
        assert_eq!(trips(&breaker, Class::Schema), (1, true));
        // With nothing more to judge, it closes by itself.
        tokio::time::advance(Duration::from_secs(61)).await;
        breaker.look(Instant::now());
        assert_eq!(trips(&breaker, Class::Schema), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn our_trouble_pauses_until_a_probe_goes_well() {
        let breaker = breaker(OnTrip::Divert);
        assert!(matches!(breaker.turn().await, Turn::Free));
        let began = Instant::now();
        assert!(breaker.note(bad(Class::Ours, 100), began));
        breaker.paused().await;
        assert!(breaker.note(good(1_000), began), "what others judged meanwhile goes back, too");

        let mut first = probe(&breaker).await;
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        assert_eq!(first.note(bad(Class::Ours, 15), 20, Instant::now()), Verdict::Pending);
        assert_eq!(first.note(good(5), 20, Instant::now()), Verdict::Failed);
        drop(first);

        let mut second = probe(&breaker).await;
        assert_eq!(began.elapsed(), Duration::from_secs(30 + 60), "the wait doubles");
        // One probe at a time; the others wait for its end.
        let waiting = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { matches!(breaker.turn().await, Turn::Free) }
        });
        tokio::time::advance(Duration::from_secs(500)).await;
        assert!(!waiting.is_finished());
        assert_eq!(second.note(good(20), 20, Instant::now()), Verdict::Passed);
        assert!(waiting.await.expect("lives"));
        assert_eq!(trips(&breaker, Class::Ours), (1, false));
        assert!(matches!(breaker.turn().await, Turn::Free));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_ends_without_a_verdict_leaves_the_turn_to_another() {
        let breaker = breaker(OnTrip::Pause);
        assert!(breaker.note(bad(Class::Schema, 100), Instant::now()));
        drop(probe(&breaker).await);
        let again = Instant::now();
        let mut other = probe(&breaker).await;
        assert_eq!(again.elapsed(), Duration::ZERO);
        // What only diverts keeps no breaker open.
        assert_eq!(other.note(good(20), 20, Instant::now()), Verdict::Passed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_trips_again_soon_waits_longer() {
        let breaker = breaker(OnTrip::Pause);
        for seconds in [30, 60, 120, 240, 480, 960, 960] {
            let began = Instant::now();
            assert!(breaker.note(bad(Class::Schema, 100), began));
            let mut probe = probe(&breaker).await;
            assert_eq!(began.elapsed(), Duration::from_secs(seconds));
            assert_eq!(probe.note(good(20), 20, Instant::now()), Verdict::Passed);
        }
        tokio::time::advance(Duration::from_secs(3 * 960)).await;
        let began = Instant::now();
        assert!(breaker.note(bad(Class::Schema, 100), began));
        drop(probe(&breaker).await);
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }
}
