//! What the machine has, and who is on it.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::Notify;

/// The memory that this process may have, in bytes: the machine's, or what its control group
/// leaves it, whichever is less. `None` where the system does not say.
#[must_use]
pub fn memory() -> Option<u64> {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    total.into_iter().chain(group).min()
}

/// Whether it has too little of something at the moment, whatever is asked for.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR))
}

/// What opens files waits so long at first for a descriptor, and then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How often it tries, within two thirds of a second.
const TRIES: u32 = 6;

/// How many descriptors opening a database takes, and some more.
const TAKEN: usize = 8;

static WANTED: Notify = Notify::const_new();

/// Does what opens files; where there is no descriptor for them, connections that do nothing go
/// (see [`descriptors_wanted`]), and it is done again. Blocks meanwhile.
///
/// # Errors
/// That of `open`.
pub fn with_descriptors<T, E>(mut open: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for attempt in 0..TRIES - 1 {
        match open() {
            Err(_) if has_no_descriptor() => {
                WANTED.notify_waiters();
                std::thread::sleep(FIRST_PAUSE * (1 << attempt));
            }
            opened => return opened,
        }
    }
    open()
}

/// Whether there are fewer descriptors than opening a database takes, whatever failed and says so
/// in words of its own. What it had opened may be closed again by now, so one is not enough.
#[must_use]
pub fn has_no_descriptor() -> bool {
    let opened: Result<Vec<_>, _> = (0..TAKEN).map(|_| File::open("/dev/null")).collect();
    opened.is_err_and(|error| is_shortage(&error))
}

/// Resolves when files have no descriptor: whoever has some to give gives them.
pub async fn descriptors_wanted() {
    WANTED.notified().await;
}

/// What a user is called, as far as `/etc/passwd` knows; else by number.
#[must_use]
pub fn user(id: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(&users, id).map_or_else(|| format!("uid {id}"), str::to_owned)
}

/// `root:x:0:0:root:/root:/bin/bash`
fn name(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id) && !name.is_empty()).then_some(name)
    })
}

/// `MemTotal:       24524160 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_called_by_name_where_there_is_one() {
        let users = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/:\n\nbroken\n:x:7:7::/:\n";
        assert_eq!((name(users, 0), name(users, 1000)), (Some("root"), Some("ann")));
        assert_eq!((name(users, 100), name(users, 7)), (None, None));
        assert_eq!(user(u32::MAX - 2), "uid 4294967293");
    }

    #[test]
    fn a_shortage_is_none_of_the_things_own_errors() {
        let of = |errno: Errno| is_shortage(&io::Error::from(errno));
        assert!(of(Errno::MFILE) && of(Errno::NFILE) && of(Errno::AGAIN));
        assert!(!of(Errno::NOENT) && !of(Errno::NOSPC));
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total("MemTotal:       24524160 kB\nMemFree: 1 kB\n"), Some(24_524_160 << 10));
        assert_eq!(total(""), None);
        assert!(memory().is_none_or(|bytes| bytes > 64 << 20));
    }
}
