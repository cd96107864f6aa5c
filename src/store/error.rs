//! What can go wrong with an object store, by what the caller does next.

use std::error::Error;
use std::sync::Arc;

/// Why, as the library or the system said it.
pub type Cause = Box<dyn Error + Send + Sync>;

/// An operation on the store that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Try again later: the store is away, busy or full. Every retry the configuration allows has been made.
    #[error("object store unavailable ({}) at {op} {path}", kind.as_str(), op = op.as_str())]
    Unavailable { op: Op, path: String, kind: Kind, source: Cause },
    /// It will not work as it is: a person has to change something.
    #[error("object store refused ({}) {op} {path}", kind.as_str(), op = op.as_str())]
    Refused { op: Op, path: String, kind: Kind, source: Cause },
    /// Something else than what was to be created stands there.
    #[error("another object already stands at {path}")]
    Exists { path: String },
    /// Nothing stands there.
    #[error("no object at {path}")]
    Missing { path: String },
}

impl StoreError {
    /// For the metric; an existing or missing object is a kind of its own.
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Unavailable { kind, .. } | StoreError::Refused { kind, .. } => *kind,
            StoreError::Exists { .. } => Kind::Exists,
            StoreError::Missing { .. } => Kind::NotFound,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. })
    }
}

/// What was asked of the store; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open,
    Create,
    Get,
    Head,
    List,
    Delete,
    Probe,
}

impl Op {
    pub const ALL: [Op; 7] = [Op::Open, Op::Create, Op::Get, Op::Head, Op::List, Op::Delete, Op::Probe];

    pub const fn as_str(self) -> &'static str {
        match self {
            Op::Open => "open",
            Op::Create => "create",
            Op::Get => "get",
            Op::Head => "head",
            Op::List => "list",
            Op::Delete => "delete",
            Op::Probe => "probe",
        }
    }
}

/// Why it failed; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No answer in time; the request may have taken effect.
    Timeout,
    /// The store asked us to slow down.
    Throttled,
    /// No connection, or one that broke.
    Connection,
    /// The store failed on its side.
    Server,
    /// Credentials or permissions.
    Auth,
    /// No such object or bucket.
    NotFound,
    Exists,
    /// The disk or the quota is full.
    NoSpace,
    Other,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Timeout,
        Kind::Throttled,
        Kind::Connection,
        Kind::Server,
        Kind::Auth,
        Kind::NotFound,
        Kind::Exists,
        Kind::NoSpace,
        Kind::Other,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Timeout => "timeout",
            Kind::Throttled => "throttled",
            Kind::Connection => "connection",
            Kind::Server => "server",
            Kind::Auth => "auth",
            Kind::NotFound => "not_found",
            Kind::Exists => "exists",
            Kind::NoSpace => "no_space",
            Kind::Other => "other",
        }
    }
}

/// What a store tells whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// One request failed; it may yet be tried again.
    Failed { op: Op, kind: Kind },
    /// A failed request is tried again.
    Retried { op: Op },
    /// An object was created: the store takes writes.
    Created,
}

/// Hears every report of a store, on the task that made the request: it must not block.
pub type Observer = Arc<dyn Fn(Report) + Send + Sync>;

/// An observer that ignores what it hears.
pub fn unobserved() -> Observer {
    Arc::new(|_| {})
}

/// One failed request, before it is known whether it is tried again.
#[derive(Debug)]
pub(super) struct Fault {
    pub class: Class,
    pub kind: Kind,
    pub source: Cause,
}

/// What a fault means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// May pass.
    Later,
    /// Will not pass.
    Never,
    Exists,
    Missing,
}

impl Fault {
    pub fn new(class: Class, kind: Kind, source: impl Into<Cause>) -> Self {
        Self { class, kind, source: source.into() }
    }

    pub fn never(source: impl Into<Cause>) -> Self {
        Self::new(Class::Never, Kind::Other, source)
    }

    pub fn into_error(self, op: Op, path: &str) -> StoreError {
        let path = path.to_owned();
        let Fault { class, kind, source } = self;
        match class {
            Class::Later => StoreError::Unavailable { op, path, kind, source },
            Class::Never => StoreError::Refused { op, path, kind, source },
            Class::Exists => StoreError::Exists { path },
            Class::Missing => StoreError::Missing { path },
        }
    }
}
