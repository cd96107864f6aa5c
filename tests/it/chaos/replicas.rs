//! The processes under test: replicas on one queue, each with its own line to the broker.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::course::Course;
use super::schedule::REPLICAS;
use crate::harness::program::Program;

pub struct Replicas<'a> {
    binary: &'a Path,
    configs: [PathBuf; REPLICAS],
    running: [Mutex<Option<Program>>; REPLICAS],
    /// Lines of the level ERROR of those that have ended.
    errors: Mutex<Vec<String>>,
}

impl<'a> Replicas<'a> {
    pub fn start(binary: &'a Path, configs: [PathBuf; REPLICAS]) -> Self {
        let running = configs.each_ref().map(|config| Mutex::new(Some(Program::start_binary(binary, config))));
        Self { binary, configs, running, errors: Mutex::default() }
    }

    /// SIGKILL to a replica, which must be running, and its next start after `downtime`.
    pub fn kill(&self, replica: usize, downtime: Duration, course: &Course) {
        let mut running = self.running[replica].lock().unwrap();
        let mut program = running.take().expect("a replica is gone only while this lock is held");
        if let Some(status) = program.ended() {
            panic!("replica {replica} had ended by itself: {status}");
        }
        self.errors.lock().unwrap().extend(program.errors());
        program.kill();
        course.rest(downtime);
        *running = Some(Program::start_binary(self.binary, &self.configs[replica]));
    }

    /// Whether one of them has found out that the store takes no writes.
    pub fn miss_the_store(&self) -> bool {
        self.metrics("parqueduct_store_up").any(|up| up == 0.0)
    }

    pub fn hold_nothing(&self) -> bool {
        self.metrics("parqueduct_in_flight").all(|held| held == 0.0)
    }

    fn metrics(&self, name: &str) -> impl Iterator<Item = f64> {
        self.running.iter().filter_map(move |running| Some(running.lock().unwrap().as_ref()?.metric(name)))
    }

    /// Ends them all by SIGTERM; the lines of the level ERROR of the whole run.
    pub fn drain(self, limit: Duration) -> Vec<String> {
        let mut errors = self.errors.into_inner().unwrap();
        let programs = self.running.map(|running| running.into_inner().unwrap().expect("it is running"));
        for program in programs {
            errors.extend(program.errors());
            let (status, log) = program.terminate(limit);
            assert!(status.success(), "a drain ends well:\n{log}");
            assert!(log.contains("in_flight=0"), "a drain settles everything:\n{log}");
        }
        errors
    }
}
