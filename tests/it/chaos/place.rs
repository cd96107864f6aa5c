//! The store of a run, which can be taken away and brought back.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::harness::s3::S3Server;

pub enum Place {
    S3(S3Server),
    /// The root of a `file://` store.
    Directory(PathBuf),
}

impl Place {
    pub fn s3() -> Self {
        Self::S3(S3Server::start())
    }

    pub fn server(&self) -> Option<&S3Server> {
        match self {
            Self::S3(server) => Some(server),
            Self::Directory(_) => None,
        }
    }

    /// From now on no write succeeds.
    pub fn take_away(&self) {
        match self {
            Self::S3(server) => server.outage(true),
            Self::Directory(root) => block_staging(root),
        }
    }

    pub fn bring_back(&self) {
        match self {
            Self::S3(server) => server.outage(false),
            Self::Directory(root) => fs::remove_file(staging(root)).expect("the file that was put there"),
        }
    }

    /// Where all that was stored lies as files.
    pub fn files(&self, scratch: &Path) -> PathBuf {
        match self {
            Self::S3(server) => {
                server.dump("archive/", scratch);
                scratch.join("archive")
            }
            Self::Directory(root) => root.clone(),
        }
    }
}

/// Where a `file://` store writes each object before it gets its name.
fn staging(root: &Path) -> PathBuf {
    root.join("meta/staging")
}

/// Puts a file in the place of the staging directory, which also root cannot write below. What lay there is lost, as the
/// unfinished writes of a disk that goes away are.
fn block_staging(root: &Path) {
    let away = root.with_extension("away");
    fs::create_dir_all(&away).expect("a directory of ours");
    for attempt in 0.. {
        match fs::rename(staging(root), away.join(attempt.to_string())) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("staging cannot be moved: {error}"),
            _ => {}
        }
        // The program may have made the directory anew meanwhile.
        match fs::File::create_new(staging(root)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                made.expect("a file of ours");
                break;
            }
        }
    }
    fs::remove_dir_all(&away).expect("a directory of ours");
}
