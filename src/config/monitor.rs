//! What is asked of a pipeline's events beside their schema, checked.

use std::time::Duration;

use regex::Regex;

use super::checked::TimeFormat;
use crate::personal::Kinds;
use crate::value::Pointer;

#[derive(Clone, Debug)]
pub struct Monitor {
    /// Deliveries a second.
    pub rate_min: Option<f64>,
    pub rate_max: Option<f64>,
    /// What the rate is taken over.
    pub rate_within: Duration,
    /// How long nothing may come.
    pub silence: Option<Duration>,
    /// With names that differ.
    pub rules: Vec<FieldRule>,
    /// `None`: it is not looked for.
    pub personal: Option<Personal>,
    /// Events a second that a shard looks at.
    pub looks_max: f64,
}

/// What holds for a field; all that is given.
#[derive(Clone, Debug)]
pub struct FieldRule {
    /// `[a-z0-9_-]+`
    pub name: String,
    /// The one type of events it is for.
    pub event: Option<String>,
    /// A segment `*` is any name or element.
    pub path: Pointer,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Values as text.
    pub one_of: Option<Vec<String>>,
    pub regex: Option<Regex>,
    pub not_empty: bool,
    /// A time no further back than that.
    pub fresh: Option<(Duration, TimeFormat)>,
}

/// What is done about personal data.
#[derive(Clone, Debug)]
pub struct Personal {
    pub dead_letter: bool,
    pub kinds: Kinds,
    /// Where it may be, beside what schemas mark.
    pub expected: Vec<Pointer>,
    /// Fields that are counted apart.
    pub paths_max: usize,
}

/// `personal_data` as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPersonal {
    Off,
    Count,
    DeadLetter,
}
