//! Makes the planned faults happen, and says of each whether it did: a fault that nobody met is none.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::course::Course;
use super::place::Place;
use super::replicas::Replicas;
use super::schedule::{Kind, Planned, REPLICAS};
use crate::harness::now;
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::{Call, Fault, Rule};

/// Longest wait for somebody to meet a fault: the broker may be starting meanwhile, with a million messages to read.
const MET_WITHIN: Duration = Duration::from_secs(150);
/// Longest wait for the publisher to come to a fault's mark.
const MARK_WITHIN: Duration = Duration::from_secs(300);

/// What can be sabotaged.
pub struct Saboteur<'a> {
    pub course: &'a Course,
    pub rabbit: &'a Rabbit,
    pub place: &'a Place,
    pub replicas: &'a Replicas<'a>,
    /// From each replica to the broker.
    pub lines: &'a [Proxy; REPLICAS],
    /// From the publisher to the broker.
    pub publisher_line: &'a Proxy,
}

impl Saboteur<'_> {
    /// Works through the faults of a lane; those that happened.
    pub fn work(&self, lane: usize, faults: &[Planned]) -> Vec<Kind> {
        let _watch = self.course.watch();
        let mut happened = Vec::new();
        for (place, fault) in faults.iter().enumerate() {
            let reached = self.course.wait(MARK_WITHIN, || self.course.published.load(SeqCst) >= fault.at);
            assert!(reached, "the publisher did not come to event {} within {MARK_WITHIN:?}", fault.at);
            self.course.set_next_fault(lane, faults.get(place + 1).map_or(u64::MAX, |next| next.at));
            if self.commit(fault) {
                happened.push(fault.kind);
            }
        }
        self.course.lane_done(lane);
        happened
    }

    fn commit(&self, fault: &Planned) -> bool {
        match fault.kind {
            Kind::Kill => {
                self.rest(0.3 * fault.force);
                self.replicas.kill(fault.replica, seconds(fault.force), self.course);
                true
            }
            Kind::BrokerKill => {
                now(self.rabbit.kill());
                self.rest(fault.force);
                now(self.rabbit.start());
                true
            }
            Kind::Outage => self.outage(fault.force),
            Kind::SlowDown => self.writes_fail(Fault::SlowDown, fault.force),
            Kind::InternalError => self.writes_fail(Fault::InternalError, fault.force),
            Kind::Timeout => self.writes_fail(Fault::NoAnswer, fault.force),
            Kind::AnswerLost => self.writes_fail(Fault::AnswerLost, fault.force),
            Kind::ErrorAfterEffect => self.writes_fail(Fault::ErrorAfterEffect, fault.force),
            Kind::Cut => self.cut(&self.lines[fault.replica]),
            Kind::PublisherCut => self.cut(self.publisher_line),
            Kind::Slow => self.slow(&self.lines[fault.replica], fault.force),
            Kind::Freeze => self.freeze(&self.lines[fault.replica], fault.force),
            Kind::AcksLost => self.lose_acks(&self.lines[fault.replica], fault.force),
        }
    }

    /// From shorter to longer than a flush is held before its deliveries go back.
    fn outage(&self, force: f64) -> bool {
        self.place.take_away();
        let met = self.met(|| self.replicas.miss_the_store());
        self.rest(1.0 + 7.0 * force);
        self.place.bring_back();
        met
    }

    fn writes_fail(&self, fault: Fault, force: f64) -> bool {
        let server = self.place.server().expect("planned for S3 only");
        let (before, times) = (server.happened(fault), 1 + (5.0 * force) as usize);
        server.inject(Rule::next(times, Call::Put, fault));
        let met = self.met(|| server.happened(fault) >= before + times);
        server.heal();
        met
    }

    fn cut(&self, line: &Proxy) -> bool {
        let before = line.connections_cut();
        self.met(|| {
            // One that stands may end by itself before it is cut.
            if line.live() > 0 {
                now(line.cut());
            }
            line.connections_cut() > before
        })
    }

    fn slow(&self, line: &Proxy, force: f64) -> bool {
        let before = line.slowed();
        line.slow_down(seconds(0.02 + 0.08 * force));
        let met = self.met(|| line.slowed() >= before + 20);
        self.rest(force);
        line.open();
        met
    }

    /// Until the program has noticed, and connects again.
    fn freeze(&self, line: &Proxy, force: f64) -> bool {
        let standing = self.met(|| line.live() > 0);
        let before = line.accepted();
        line.freeze();
        let met = standing && self.met(|| line.accepted() > before);
        self.rest(force);
        // What is held back arrives late, or never.
        if force < 0.5 {
            line.open()
        } else {
            now(line.cut())
        }
        met
    }

    fn lose_acks(&self, line: &Proxy, force: f64) -> bool {
        let before = line.acks_swallowed();
        line.swallow_acks();
        let met = self.met(|| line.acks_swallowed() > before);
        self.rest(2.0 * force);
        now(line.cut());
        met
    }

    fn met(&self, condition: impl FnMut() -> bool) -> bool {
        self.course.wait(MET_WITHIN, condition)
    }

    fn rest(&self, time_seconds: f64) {
        self.course.rest(seconds(time_seconds));
    }
}

fn seconds(time: f64) -> Duration {
    Duration::from_secs_f64(time)
}
