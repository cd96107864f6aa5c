//! Flow 2: dead letters back to where events come from.

pub mod broker; // through a broker
pub mod destination; // where a replay sends letters
