//! Our side of the child.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::wire::{Answer, encode_setup, read_frame, write_frame};
use super::{COMMAND, JqLimits};

/// The running program, also after its file was replaced by a newer one.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// The child stops itself in time; if it does not, it is ended this much later.
const GRACE: Duration = Duration::from_secs(10);
/// What the system sends to a process that gives up: out of memory, or out of stack.
const GAVE_UP: [i32; 3] = [6, 11, 7];

/// A jq program with its child, which is started when it is first needed.
#[derive(Debug)]
pub struct Jq {
    program: String,
    limits: JqLimits,
    executable: PathBuf,
    worker: Mutex<Option<Worker>>,
}

/// Why no body came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Stopped {
    Raised,
    None,
    Several,
    TooLarge,
    TooLong,
    /// Out of memory, or nested too deeply.
    TooMuch,
    Unreadable,
    /// Nothing is wrong with the body: the child could not be had.
    Ours(String),
}

#[derive(Debug)]
struct Worker {
    child: Child,
    bodies: ChildStdin,
    answers: Receiver<Answer>,
}

impl Clone for Jq {
    /// With a child of its own.
    fn clone(&self) -> Self {
        Self::new(self.program.clone(), self.limits, self.executable.clone())
    }
}

impl Jq {
    pub(in super::super) fn own(program: String) -> Self {
        Self::new(program, JqLimits::default(), OWN_EXECUTABLE.into())
    }

    fn new(program: String, limits: JqLimits, executable: PathBuf) -> Self {
        Self { program, limits, executable, worker: Mutex::new(None) }
    }

    pub(in super::super) fn limited(self, limits: JqLimits, executable: PathBuf) -> Self {
        Self::new(self.program, limits, executable)
    }

    pub(in super::super) fn program(&self) -> &str {
        &self.program
    }

    pub(in super::super) fn limits(&self) -> JqLimits {
        self.limits
    }

    /// What the program makes of `body`. Blocks, for at most the time limit and a grace.
    pub(in super::super) fn run(&self, body: &[u8]) -> Result<Vec<u8>, Stopped> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let had_one = worker.is_some();
        match self.attempt(&mut worker, body) {
            // It may have been ended by somebody since the last body; a new one tells.
            Err(Stopped::Ours(_)) if had_one => self.attempt(&mut worker, body),
            other => other,
        }
    }

    fn attempt(&self, slot: &mut Option<Worker>, body: &[u8]) -> Result<Vec<u8>, Stopped> {
        let ours = |error: io::Error| Stopped::Ours(error.to_string());
        let mut worker = match slot.take() {
            Some(worker) => worker,
            None => Worker::start(self).map_err(ours)?,
        };
        // Fails when it died, which is found out below.
        let _sent = write_frame(&mut worker.bodies, body);
        match worker.answers.recv_timeout(self.limits.time + GRACE) {
            Ok(Answer::Output(output)) => {
                *slot = Some(worker);
                Ok(output)
            }
            Ok(answer) => {
                let (stopped, goes_on) = match answer {
                    Answer::Raised => (Stopped::Raised, true),
                    Answer::None => (Stopped::None, true),
                    Answer::Several => (Stopped::Several, true),
                    Answer::TooLarge => (Stopped::TooLarge, true),
                    Answer::TooLong => (Stopped::TooLong, false),
                    // A panic within jaq is the program's doing.
                    Answer::Panicked => (Stopped::Raised, false),
                    Answer::Unreadable | Answer::Output(_) => (Stopped::Unreadable, false),
                };
                if goes_on {
                    *slot = Some(worker);
                }
                Err(stopped)
            }
            Err(RecvTimeoutError::Timeout) => Err(Stopped::TooLong),
            Err(RecvTimeoutError::Disconnected) => Err(worker.obituary()),
        }
    }
}

impl Worker {
    fn start(jq: &Jq) -> io::Result<Self> {
        let mut child = Command::new(&jq.executable)
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            // A Ctrl-C at the terminal is for us, not for it: what it is about is drained.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut bodies = child.stdin.take().expect("it is piped");
        let mut output = child.stdout.take().expect("it is piped");
        let (answer, answers) = sync_channel(1);
        // Ends when the child does.
        thread::Builder::new().name("jq answers".to_owned()).spawn(move || {
            while let Ok(Some(frame)) = read_frame(&mut output) {
                let Some(decoded) = Answer::decode(&frame) else { return };
                if answer.send(decoded).is_err() {
                    return;
                }
            }
        })?;
        let setup = write_frame(&mut bodies, &encode_setup(jq.limits, &jq.program));
        let worker = Self { child, bodies, answers };
        setup.map(|()| worker)
    }

    /// Why it is dead.
    fn obituary(mut self) -> Stopped {
        match self.child.wait() {
            Ok(status) if status.signal().is_some_and(|signal| GAVE_UP.contains(&signal)) => Stopped::TooMuch,
            Ok(status) => Stopped::Ours(format!("the process for jq ended with {status}")),
            Err(error) => Stopped::Ours(error.to_string()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
