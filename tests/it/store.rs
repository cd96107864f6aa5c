//! The object stores: one conformance suite for all, then what only one of them can show.

mod configured;
mod conformance;
mod directory;
mod faults;
mod moto;

use std::time::Duration;

use parqueduct::config::{self, StorePlace};
use parqueduct::store::{Store, unobserved};
use tempfile::TempDir;

use crate::harness::s3::S3Server;

/// A store, and what it stands on.
struct Opened {
    store: Store,
    _directory: Option<TempDir>,
    _server: Option<S3Server>,
}

fn memory() -> Opened {
    Opened { store: Store::memory(), _directory: None, _server: None }
}

fn file() -> Opened {
    let directory = TempDir::new().unwrap();
    let store = open(&file_config(directory.path()));
    Opened { store, _directory: Some(directory), _server: None }
}

fn s3() -> Opened {
    let server = S3Server::start();
    server.page_max(7);
    let store = open(&server.config("some/prefix"));
    Opened { store, _directory: None, _server: Some(server) }
}

fn file_config(root: &std::path::Path) -> config::Store {
    config::Store {
        place: StorePlace::File { root: root.into() },
        request_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        retries_max: 2,
        retry_timeout: Duration::from_secs(5),
        put_concurrency: 4,
        ca: None,
        allow_http: false,
    }
}

/// Opens a store that finds nothing in its environment.
fn open(config: &config::Store) -> Store {
    Store::open(config, &|_| None, unobserved()).unwrap()
}

conformance::suite!(memory, crate::store::memory);
conformance::suite!(file, crate::store::file);
conformance::suite!(s3, crate::store::s3);
