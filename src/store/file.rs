//! The `file://` store. An object appears under its name complete and fsynced, or not at all, and is never overwritten:
//! it is written in the staging directory, then hard-linked to its name. Blocking; the callers leave the async threads.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::classify::io_fault;
use super::error::{Class, Fault, Kind};
use super::staging::{STAGING, Staging};
use super::{Entry, Meta};

/// Directories remembered as durable; forgetting them costs some fsyncs.
const DURABLE_DIRS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct FileStore {
    root: PathBuf,
    staging: Staging,
    /// Directories whose entry in their parent is known to be fsynced.
    durable: Mutex<HashSet<PathBuf>>,
}

impl FileStore {
    /// Makes the root if it is missing and sweeps what dead processes left in staging.
    pub fn open(root: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(root).map_err(io_fault)?;
        let root = fs::canonicalize(root).map_err(io_fault)?;
        let staging = Staging::new(&root);
        let swept = staging.sweep();
        if swept > 0 {
            tracing::info!(swept, root = %root.display(), "removed unfinished writes of dead processes");
        }
        Ok(Self { root, staging, durable: Mutex::default() })
    }

    pub fn create(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let target = self.root.join(path);
        if target.is_file() {
            // Should it be ours, from an attempt that failed after it got its name, it is not durable yet.
            self.sync(&target).map_err(never_missing)?;
            return Err(io_fault(ErrorKind::AlreadyExists.into()));
        }
        // A staging directory that is missing is no missing object.
        let (file, staged) = self.staging.file().map_err(never_missing)?;
        let linked = write_durably(file, bytes).and_then(|()| self.publish(&staged, &target));
        // What cannot be removed here is swept by the next start.
        let _ = fs::remove_file(&staged);
        linked.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => io_fault(error),
            _ => never_missing(error),
        })
    }

    fn sync(&self, target: &Path) -> io::Result<()> {
        File::open(target)?.sync_all()?;
        let parent = target.parent().ok_or(ErrorKind::InvalidFilename)?;
        self.make_durable_dir(parent)?;
        sync_dir(parent)
    }

    fn publish(&self, staged: &Path, target: &Path) -> io::Result<()> {
        let parent = target.parent().ok_or(ErrorKind::InvalidFilename)?;
        self.make_durable_dir(parent)?;
        match fs::hard_link(staged, target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody removed the directory since: make it again.
                self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
                self.make_durable_dir(parent)?;
                fs::hard_link(staged, target)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                let text = format!("{error}; a file:// store needs a file system with hard links");
                return Err(io::Error::new(error.kind(), text));
            }
            linked => linked?,
        }
        sync_dir(parent)
    }

    /// Makes `dir` with its parents and fsyncs each one's entry in its parent, up to the root.
    fn make_durable_dir(&self, dir: &Path) -> io::Result<()> {
        let known = |dir: &Path| self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(dir);
        let above = |dir: &&Path| *dir != self.root && !known(dir);
        let missing: Vec<_> = dir.ancestors().take_while(above).collect();
        for dir in missing.iter().rev() {
            match fs::create_dir(dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !dir.is_dir() {
                        return Err(ErrorKind::NotADirectory.into());
                    }
                }
                made => made?,
            }
            sync_dir(dir.parent().unwrap_or(&self.root))?;
        }
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() + missing.len() > DURABLE_DIRS_MAX {
            durable.clear();
        }
        durable.extend(missing.into_iter().map(Path::to_path_buf));
        Ok(())
    }

    pub fn get(&self, path: &str) -> Result<Bytes, Fault> {
        let path = self.object(path)?;
        fs::read(path).map(Bytes::from).map_err(io_fault)
    }

    pub fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Fault> {
        let file = File::open(self.object(path)?).map_err(io_fault)?;
        let read = |range: &Range<u64>| {
            let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
            file.read_exact_at(&mut bytes, range.start).map(|()| Bytes::from(bytes))
        };
        let beyond = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => Fault::never(error),
            _ => io_fault(error),
        };
        ranges.iter().map(read).collect::<io::Result<_>>().map_err(beyond)
    }

    pub fn head(&self, path: &str) -> Result<Meta, Fault> {
        let metadata = fs::metadata(self.object(path)?).map_err(io_fault)?;
        Ok(Meta { bytes: metadata.len() })
    }

    /// Removes the object and makes that durable; the directories stay.
    pub fn delete(&self, path: &str) -> Result<(), Fault> {
        let path = self.object(path)?;
        fs::remove_file(&path).map_err(io_fault)?;
        sync_dir(path.parent().unwrap_or(&self.root)).map_err(io_fault)
    }

    /// The directories directly below `prefix`, by name, sorted.
    pub fn dirs(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let children = children(&self.root.join(prefix)).map_err(io_fault)?;
        let names = children.into_iter().filter_map(|child| child.strip_suffix('/').map(str::to_owned));
        Ok(names.filter(|name| join(prefix, name) != STAGING).collect())
    }

    /// Hands every object below `prefix` and after `after` to `each`, in the byte order of their paths, until it says
    /// stop.
    pub fn walk(&self, prefix: &str, after: Option<&str>, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), Fault> {
        self.walk_dir(prefix, after, each).map(drop).map_err(io_fault)
    }

    /// `false`: stopped.
    fn walk_dir(&self, dir: &str, after: Option<&str>, each: &mut dyn FnMut(Entry) -> bool) -> io::Result<bool> {
        if dir == STAGING {
            return Ok(true);
        }
        for child in children(&self.root.join(dir))? {
            let path = join(dir, child.trim_end_matches('/'));
            // All paths below a directory start with its path and a slash.
            let passed = |after: &str| match child.ends_with('/') {
                true => !after.starts_with(&format!("{path}/")) && *after > *format!("{path}/"),
                false => *path <= *after,
            };
            if after.is_some_and(passed) {
                continue;
            }
            let going = match child.ends_with('/') {
                true => self.walk_dir(&path, after, each)?,
                false => match fs::metadata(self.root.join(&path)) {
                    Ok(metadata) => !metadata.is_file() || each(Entry { path, bytes: metadata.len() }),
                    Err(error) if error.kind() == ErrorKind::NotFound => true,
                    Err(error) => return Err(error),
                },
            };
            if !going {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A directory is no object.
    fn object(&self, path: &str) -> Result<PathBuf, Fault> {
        let path = self.root.join(path);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Err(io_fault(ErrorKind::NotFound.into())),
            // Below what is a file, nothing is.
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                Err(Fault::new(Class::Missing, Kind::NotFound, error))
            }
            _ => Ok(path),
        }
    }
}

/// The names in `dir`, directories with a slash at the end, in the order of the paths they begin; none when it is
/// missing. Names that are not UTF-8 are none of ours.
fn children(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

fn write_durably(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// In a write, a missing file or directory is somebody tidying under us: it may pass.
fn never_missing(error: io::Error) -> Fault {
    match io_fault(error) {
        Fault { class: Class::Missing | Class::Exists, source, .. } => Fault::new(Class::Later, Kind::Other, source),
        fault => fault,
    }
}
