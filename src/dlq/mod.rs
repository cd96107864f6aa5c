//! Bad events: the record that keeps them whole, the groups that explain them, and finding them again. No broker and
//! no clock here; `ingest` makes the records, the command line reads them.

mod arrays; // columns made and read
pub mod attempts; // what became of letters that were given back
pub mod death; // what the broker wrote on a message it dead-lettered
pub mod decide; // what people decide about groups
pub mod filter; // which dead letters are meant
pub mod fingerprint; // which group an issue belongs to
mod footer; // the end of a file, read without the rest
pub mod groups; // what the dead letters have in common
pub mod index; // what a file says of its letters in its footer
pub mod life; // where a group is in its life
pub mod line; // a letter as a line of JSON
pub mod lineage; // what a replayed message says of itself
pub mod log; // what was decided about groups and jobs; the audit
pub mod merge; // small files made into large ones; letters kept long enough
pub mod record; // one dead letter, whole; its file
pub mod records; // finding them in the store
pub mod rules; // groups as the configuration wants them
pub mod sentence; // what is wrong, for people
pub mod veil; // what viewers do not see
