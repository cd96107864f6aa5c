//! Where objects of a `file://` store are written before they get their name: `meta/staging/<process>/`, never `data/`.
//!
//! Each process has a directory of its own and holds a lock on it (flock) while it lives, so whoever can take the lock
//! knows that the owner is dead, whatever container or process table it ran in.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Below the root of the store.
pub(super) const STAGING: &str = "meta/staging";

/// Directories of living writers and unswept leftovers under one name; beyond that something is wrong.
const ATTEMPTS_MAX: u32 = 10_000;

/// The staging directories of one store.
#[derive(Debug)]
pub(super) struct Staging {
    all: PathBuf,
    /// Made when the first object is created, so that reading needs no right to write.
    own: Mutex<Option<Own>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Own {
    dir: PathBuf,
    /// Held open for its lock.
    _lock: File,
}

impl Staging {
    pub fn new(root: &Path) -> Self {
        Self { all: root.join(STAGING), own: Mutex::new(None), next: AtomicU64::new(0) }
    }

    /// A new empty file of ours. The caller removes it.
    pub fn file(&self) -> io::Result<(File, PathBuf)> {
        let dir = self.own_dir()?;
        let path = dir.join(self.next.fetch_add(1, Relaxed).to_string());
        Ok((File::create_new(&path)?, path))
    }

    fn own_dir(&self) -> io::Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some(own) if own.dir.is_dir() => Ok(own.dir.clone()),
            _ => {
                fs::create_dir_all(&self.all)?;
                let made = Own::make(&self.all)?;
                Ok(own.insert(made).dir.clone())
            }
        }
    }

    /// Removes what dead processes left. Best effort: leftovers cost space, nothing else. Where the file system has no
    /// locks nobody is known to be dead, and they stay.
    pub fn sweep(&self) -> usize {
        let Ok(entries) = fs::read_dir(&self.all) else { return 0 };
        let leftovers = entries.flatten().map(|entry| entry.path()).filter(|path| is_abandoned(path));
        leftovers.filter(|path| fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).is_ok()).count()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(own) = self.own.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // Fails when a write is still under way; then the next start sweeps.
            let _ = fs::remove_dir(&own.dir);
        }
    }
}

impl Own {
    /// Makes and locks a directory. One that is swept between the two steps is made again.
    fn make(all: &Path) -> io::Result<Self> {
        // Containers repeat process ids; the number tells them apart.
        let process = std::process::id();
        for number in 0..ATTEMPTS_MAX {
            let dir = all.join(format!("{process}-{number}"));
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let Ok(lock) = File::open(&dir) else { continue };
            if let Err(TryLockError::WouldBlock) = lock.try_lock() {
                continue;
            }
            if same_file(&lock, &dir) {
                return Ok(Self { dir, _lock: lock });
            }
        }
        Err(io::Error::other("too many leftovers in meta/staging: remove those of dead processes"))
    }
}

fn same_file(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn is_abandoned(path: &Path) -> bool {
    File::open(path).is_ok_and(|lock| lock.try_lock().is_ok())
}
