//! Who this process is, whether another one still lives, and the clock and randomness lent to the flows.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::broker;
use crate::config::Secret;
use crate::ingest::Surroundings;
use crate::store::flush::{Here, Liveness, Owner};

/// The clock and randomness for the flows.
pub fn surroundings() -> Surroundings {
    // One for the process: only so is each identifier later than all before it.
    static GENERATOR: Mutex<Option<ulid::Generator>> = Mutex::new(None);
    let ulid = || {
        let mut generator = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let generator = generator.get_or_insert_with(ulid::Generator::new);
        // More than 2^80 in a millisecond would be needed to fail.
        generator.generate().expect("a millisecond has room for one more identifier")
    };
    Surroundings { now, ulid: Arc::new(ulid), seed: || fastrand::u64(..) }
}

/// The value of a secret as it is now.
pub fn secret(secret: &Secret) -> Result<String, String> {
    match secret.file() {
        None => Ok(secret.expose().to_owned()),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(content) => Ok(Secret::of_file(path.to_owned(), &content).expose().to_owned()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        },
    }
}

/// The clock and the files, for connections to brokers.
pub fn broker_surroundings() -> broker::Surroundings {
    broker::Surroundings { now, read: |path| std::fs::read_to_string(path) }
}

/// The wall clock.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// This process as an owner of flushes. On systems without `/proc` the fields stay empty, and other processes wait for
/// the grace period instead of looking.
pub fn owner(instance: &str) -> Owner {
    let pid = std::process::id();
    Owner {
        instance: instance.to_owned(),
        host: host_name(),
        boot_id: read_line("/proc/sys/kernel/random/boot_id"),
        pid_namespace: link("/proc/self/ns/pid"),
        pid,
        pid_started: process_start(pid).ok().flatten().unwrap_or_default(),
    }
}

/// Who runs this process, as `user@host`: for the audit, when nobody says otherwise.
pub fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let user = if user.is_empty() { "somebody" } else { &user };
    format!("{user}@{}", host_name())
}

/// Whether the owner of a flush still lives, as far as can be seen from here.
pub fn liveness(owner: &Owner) -> Liveness {
    let boot_id = read_line("/proc/sys/kernel/random/boot_id");
    let pid_namespace = link("/proc/self/ns/pid");
    if boot_id.is_empty() || pid_namespace.is_empty() {
        return Liveness::Unknown;
    }
    let Ok(started) = process_start(owner.pid) else { return Liveness::Unknown };
    Liveness::of(owner, Here { boot_id: &boot_id, pid_namespace: &pid_namespace }, |_| started)
}

pub(super) fn host_name() -> String {
    let name = read_line("/proc/sys/kernel/hostname");
    if name.is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name }
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn link(path: &str) -> String {
    std::fs::read_link(path).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Start time of a process in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)); `None` when it is gone or
/// only waits for its parent to notice.
///
/// # Errors
/// When that cannot be seen, which says nothing about the process.
fn process_start(pid: u32) -> io::Result<Option<u64>> {
    const NO_SUCH_PROCESS: i32 = 3; // ESRCH, which reading gives when it ends meanwhile
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // The name in parentheses may hold spaces and parentheses; what follows the last one is regular.
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    match fields.next() {
        Some("Z" | "X") => Ok(None),
        Some(_) => Ok(fields.nth(18).and_then(|ticks| ticks.parse().ok())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_alive_and_a_reused_pid_is_not_taken_for_it() {
        let me = owner("a");
        assert_eq!(liveness(&me), Liveness::Alive);
        assert_eq!(liveness(&Owner { pid_started: me.pid_started + 1, ..me.clone() }), Liveness::Dead);
        assert_eq!(liveness(&Owner { boot_id: "another machine".to_owned(), ..me }), Liveness::Unknown);
    }
}
