//! jq programs, each in a process of its own.
//!
//! A jq program can do what any program can: never end, use all memory, nest calls until the stack is gone. No limit within
//! our own process would hold against all of that (jaq evaluates lazily, and a full stack ends the process), so a program
//! runs in a child of this very executable, which limits its own address space, is stopped after a time for each body, and
//! may die without harm. It has no environment and no functions that read the clock, files or further input. One child
//! serves all bodies of a fix, as long as it behaves.

mod host; // our side: starts the child, waits no longer than agreed
mod program; // compiles and runs, in the child; checked before, on a stack of its own
mod wire; // what passes between the two
mod worker; // the child

pub use host::Jq;
pub use worker::serve;

pub(super) use host::Stopped;
pub(super) use program::check;

use std::time::Duration;

/// The hidden command that makes this executable the child.
pub const COMMAND: &str = "jq-worker";

/// What a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JqLimits {
    /// For each body.
    pub time: Duration,
    /// Address space of the child: its code and stacks take about 400 MiB of it.
    pub memory_bytes: u64,
    /// Of the body that comes out.
    pub output_bytes: usize,
}

impl Default for JqLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), memory_bytes: 1 << 30, output_bytes: 64 << 20 }
    }
}
