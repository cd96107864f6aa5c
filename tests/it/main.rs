//! The one integration binary: every test that needs more than a module, so that they link once.
// Tests read the environment that `make test` hands over, wait, and unwrap: a failure is the point.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod api;
mod bench;
mod breaker;
mod broker;
mod chaos;
mod conservation;
mod contracts;
mod crash;
mod credentials;
mod deploy;
mod experiment;
mod fatal;
mod fixes;
mod flow;
mod foresight;
mod formats;
mod fuzz;
mod harness;
mod json_schema_suite;
mod learned; // `schema = "infer"`
mod letters;
mod main_job;
mod model;
mod monitors;
mod outage;
mod poison;
mod registry;
mod reload;
mod replay;
mod replay_broker;
mod schema_commands; // `schema columns`, `schema check`
mod schema_infer; // `schema infer`
mod store;
mod tidy;
mod traces; // traces of events, spans of flushes
mod trouble;
