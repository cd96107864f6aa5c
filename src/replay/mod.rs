//! Flow 2: dead letters, mended, back to where events come from.

pub mod broker; // through a broker
pub mod destination; // where a replay sends letters
pub mod fix; // what is changed in a letter before it goes back
