//! Numbered events, good and bad, published with confirms over whatever happens.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use parqueduct::broker::publish::{Publisher, PublisherLimits};
use parqueduct::event::{Message, Properties};

use super::course::Course;
use crate::harness::{now, orders, rabbit};

/// Every so many events one is bad, of each kind in turn.
pub const BAD_EVERY: u64 = 20;
pub const BAD_AT: u64 = 7;
/// While a fault is overdue, this part of the rate is published: enough for faults that need traffic to happen.
const TRICKLE: u64 = 10;
/// Longest time without a connection that takes events: above a restart of the broker on a busy machine.
const PROGRESS_WITHIN: Duration = Duration::from_secs(150);
/// Events between two looks at the clock.
const STRIDE: u64 = 20;

/// What was published.
pub struct Published {
    /// Numbers 0 to this were used.
    pub numbers: u64,
    /// Of those, the ones whose confirm never came: the broker may have them or not. Each was tried again as another.
    pub unconfirmed: Vec<u64>,
}

pub fn message(n: u64) -> Message {
    let good = n % BAD_EVERY != BAD_AT;
    let body = if good { orders::good(n as usize) } else { orders::bad((n / BAD_EVERY) as usize).body };
    let properties = Properties {
        message_id: Some(format!("m-{n}")),
        content_type: Some("application/json".to_owned()),
        delivery_mode: Some(2),
        ..Properties::default()
    };
    Message { body, properties: properties.into(), ..Message::default() }
}

/// Publishes until `events` are confirmed and all faults have happened.
pub fn publish(course: &Course, uri: &str, queue: &str, events: u64, rate: u64) -> Published {
    let _watch = course.watch();
    let mut published = Published { numbers: 0, unconfirmed: Vec::new() };
    let mut last_progress = Instant::now();
    while !finished(course, &published, events) {
        let before = published.numbers;
        if !session(course, uri, queue, (events, rate), &mut published) {
            course.rest(Duration::from_millis(300));
        }
        if published.numbers > before {
            last_progress = Instant::now();
        }
        assert!(last_progress.elapsed() < PROGRESS_WITHIN, "the broker takes no events for {PROGRESS_WITHIN:?}");
    }
    published
}

fn finished(course: &Course, published: &Published, events: u64) -> bool {
    published.numbers - published.unconfirmed.len() as u64 >= events && course.faults_are_over()
}

/// Publishes over one connection; false when that failed.
fn session(course: &Course, uri: &str, queue: &str, (events, rate): (u64, u64), published: &mut Published) -> bool {
    // More than are in flight between two faults are of no use; fewer confirms are lost.
    let limits = PublisherLimits { in_flight_max: 500, confirm_timeout: Duration::from_secs(20) };
    let Ok(mut publisher) = now(Publisher::connect(&rabbit::config(&[uri]), rabbit::surroundings(), "chaos", limits))
    else {
        return false;
    };
    let (mut in_flight, mut confirmed) = (VecDeque::new(), 0);
    let mut going = true;
    let mut pace = Pace::new(rate);
    while going && !finished(course, published, events) {
        for _ in 0..STRIDE {
            let n = published.numbers;
            published.numbers += 1;
            in_flight.push_back(n);
            going &= now(publisher.publish("", queue, &message(n))).is_ok();
            if !going {
                break;
            }
        }
        forget_confirmed(&publisher, &mut in_flight, &mut confirmed);
        course.published.store(published.numbers, SeqCst);
        pace.keep(course);
    }
    going &= now(publisher.finish()).is_ok();
    forget_confirmed(&publisher, &mut in_flight, &mut confirmed);
    published.unconfirmed.extend(in_flight);
    course.published.store(published.numbers, SeqCst);
    now(publisher.close());
    going
}

/// Confirms come in the order of the events; one that was returned for want of a queue is the last, and is no success.
fn forget_confirmed(publisher: &Publisher, in_flight: &mut VecDeque<u64>, confirmed: &mut u64) {
    let published = publisher.published();
    let taken = published.confirmed - published.returned;
    in_flight.drain(..(taken - *confirmed) as usize);
    *confirmed = taken;
}

/// The rate, kept by waiting.
struct Pace {
    rate: u64,
    next: Instant,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// Waits until [`STRIDE`] events more are due; what was missed is not made up for.
    fn keep(&mut self, course: &Course) {
        let rate = if course.fault_is_overdue() { self.rate / TRICKLE } else { self.rate };
        self.next = self.next.max(Instant::now() - Duration::from_millis(100))
            + Duration::from_secs_f64(STRIDE as f64 / rate.max(1) as f64);
        course.rest(self.next.saturating_duration_since(Instant::now()));
    }
}
