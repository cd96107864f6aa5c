//! How far a dry run or a replay is, on a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::receipt::Tally;
use crate::replay::{DryRunWatch, JobWatch};

/// A bar on standard error; hidden where that is no terminal.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let template = "{wide_bar} {human_pos} of {human_len} {msg}, {elapsed}";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        Self { bar: ProgressBar::no_length().with_style(style).with_message(what.to_owned()) }
    }

    /// Says something above the bar.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn at(&self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
    }
}

impl JobWatch for Bar {
    fn begins(&self, done: u64, letters: u64) {
        self.at(done, letters);
    }

    fn advances(&self, done: u64, _tally: &Tally) {
        self.bar.set_position(done);
    }

    fn paused(&self) {
        self.say("paused: `parqueduct dlq resume` lets it go on");
    }
}

impl DryRunWatch for Bar {
    fn advances(&self, done: u64, letters: u64) {
        self.at(done, letters);
    }
}
