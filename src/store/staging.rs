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
use std::time::{Duration, SystemTime};

/// Below the root of the store.
pub(super) const STAGING: &str = "meta/staging";

/// Where locks do not work (some network file systems), a directory untouched for this long has no owner.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

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

    /// Removes what dead processes left. Best effort: leftovers cost space, nothing else.
    pub fn sweep(&self, now: SystemTime) -> usize {
        let Ok(entries) = fs::read_dir(&self.all) else { return 0 };
        let leftovers = entries.flatten().map(|entry| entry.path()).filter(|path| is_abandoned(path, now));
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
        for _ in 0..16 {
            let dir = all.join(format!("{:016x}", fastrand::u64(..)));
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
        Err(io::Error::other("no staging directory of our own could be made in 16 attempts"))
    }
}

fn same_file(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn is_abandoned(path: &Path, now: SystemTime) -> bool {
    let Ok(lock) = File::open(path) else { return false };
    match lock.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            let modified = lock.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > ABANDONED_AFTER))
        }
    }
}
