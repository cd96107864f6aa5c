//! What goes wrong, when, and how often it did.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hyper::{Method, Uri};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Put,
    Get,
    Head,
    Delete,
    List,
    Other,
}

impl Call {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        match method.as_str() {
            "GET" if query.contains("list-type") => Call::List,
            "GET" => Call::Get,
            "HEAD" => Call::Head,
            "PUT" => Call::Put,
            "DELETE" => Call::Delete,
            "POST" if query.starts_with("delete") => Call::Delete,
            _ => Call::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// 503 SlowDown, 500 InternalError, 409 ConditionalRequestConflict, 412 PreconditionFailed or 403 AccessDenied, and
    /// no effect.
    SlowDown,
    InternalError,
    Conflict,
    Precondition,
    Forbidden,
    /// The connection closes; no effect.
    Closed,
    /// The request is never answered; no effect.
    NoAnswer,
    /// It takes effect, then the connection closes.
    AnswerLost,
    /// It takes effect and is never answered.
    AnswerNever,
    /// It takes effect, and the answer is 500.
    ErrorAfterEffect,
    /// The answer's body comes in chunks of 64 KiB, each after this wait.
    SlowBody {
        per_chunk: Duration,
    },
    /// The connection closes within the answer's body.
    CutBody {
        after: usize,
    },
}

impl Fault {
    /// Whether the request does what it asks for.
    pub(super) fn has_effect(self) -> bool {
        match self {
            Self::SlowDown | Self::InternalError | Self::Conflict | Self::Precondition | Self::Forbidden => false,
            Self::Closed | Self::NoAnswer => false,
            Self::AnswerLost | Self::AnswerNever | Self::ErrorAfterEffect => true,
            Self::SlowBody { .. } | Self::CutBody { .. } => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// To the next `n` requests that match.
    Next(usize),
    /// To the `n`th from now that matches, counted from 1.
    Nth(usize),
    /// To each that matches, with this probability.
    Each(f64),
    /// To one of `n` that match, the last of them.
    OneOf { n: usize, passed: usize },
}

/// A fault and the requests it happens to.
#[derive(Clone, Debug)]
pub struct Rule {
    pub fault: Fault,
    pub call: Call,
    /// Part of the path; empty: any.
    pub path: String,
    pub how: How,
}

impl Rule {
    pub fn next(times: usize, call: Call, fault: Fault) -> Self {
        Self { fault, call, path: String::new(), how: How::Next(times) }
    }

    pub fn nth(number: usize, call: Call, fault: Fault) -> Self {
        Self { fault, call, path: String::new(), how: How::Nth(number) }
    }

    pub fn each(probability: f64, call: Call, fault: Fault) -> Self {
        Self { fault, call, path: String::new(), how: How::Each(probability) }
    }

    pub fn one_of(n: usize, call: Call, fault: Fault) -> Self {
        Self { fault, call, path: String::new(), how: How::OneOf { n, passed: 0 } }
    }

    pub fn on_path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }
}

#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    requests: HashMap<Call, usize>,
    injected: usize,
    happened: HashMap<Fault, usize>,
}

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.0.lock().unwrap().rules.push(rule);
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().rules.clear();
    }

    pub fn requests(&self, call: Call) -> usize {
        self.0.lock().unwrap().requests.get(&call).copied().unwrap_or_default()
    }

    pub fn injected(&self) -> usize {
        self.0.lock().unwrap().injected
    }

    /// Counts a fault, after the effect that it lets a request have.
    pub fn count(&self, fault: Fault) {
        *self.0.lock().unwrap().happened.entry(fault).or_default() += 1;
    }

    pub fn happened(&self, fault: Fault) -> usize {
        self.0.lock().unwrap().happened.get(&fault).copied().unwrap_or_default()
    }

    /// Counts the request and says what happens to it.
    pub fn next(&self, call: Call, path: &str) -> Option<Fault> {
        let mut state = self.0.lock().unwrap();
        *state.requests.entry(call).or_default() += 1;
        let matching = state.rules.iter_mut().filter(|rule| rule.call == call && path.contains(&rule.path));
        for rule in matching {
            let happens = match &mut rule.how {
                How::Next(0) => false,
                How::Next(left) => {
                    *left -= 1;
                    true
                }
                How::Nth(0) => false,
                How::Nth(left) => {
                    *left -= 1;
                    *left == 0
                }
                How::Each(probability) => fastrand::f64() < *probability,
                How::OneOf { n, passed } => {
                    *passed = (*passed + 1) % *n;
                    *passed == 0
                }
            };
            if happens {
                let fault = rule.fault;
                state.injected += 1;
                return Some(fault);
            }
        }
        None
    }
}
