//! The files of a data folder, read beside the host or after its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};
use tempfile::TempDir;

use crate::harness::disk::Disk;
use crate::harness::eventually;

/// A host's stores and its bus.
pub struct Stores {
    data: PathBuf,
}

/// Numbers by key, in the order in which they were written.
pub type Logs = BTreeMap<String, Vec<u64>>;

impl Stores {
    pub fn at(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Waits until everything that was published is finished everywhere: it had its
    /// effect, or is a dead letter.
    pub async fn until_drained(&self) {
        let mut passes = 0;
        eventually("all events are finished", async || {
            let unfinished = self.unfinished();
            passes = if unfinished.is_empty() { passes + 1 } else { 0 };
            // An event that becomes another one while this looks may be missed once
            // for each step that it takes.
            (passes == 3).then_some(())
        })
        .await;
    }

    /// The same of a host on the tests' disk. Returns what it has then.
    pub async fn drained(disk: &Disk) -> (Self, TempDir) {
        eventually("all events are finished", async || {
            let copy = disk.copied();
            let stores = Self::at(copy.path());
            stores.unfinished().is_empty().then_some((stores, copy))
        })
        .await
    }

    /// What is on its way, in the order in which it gets on.
    pub fn unfinished(&self) -> Vec<String> {
        let mut unfinished = Vec::new();
        let services = self.services();
        for service in &services {
            let store = self.store(service);
            let id: String = one(&store, "SELECT value FROM _meta WHERE key = 'store_id'");
            let relayed = "SELECT coalesce(max(last), 0) FROM source WHERE store_id = ?1";
            let last: u64 = one_of(&self.bus(), relayed, &id);
            let waiting: u64 =
                one_of(&store, "SELECT count(*) FROM _outbox WHERE sequence > ?1", last);
            if waiting > 0 {
                unfinished.push(format!("{service}: {waiting} in the outbox after {last}"));
            }
        }
        for service in &services {
            let store = self.store(service);
            let cursors = all(&store, "SELECT subscription, position FROM _cursor", |row| {
                (
                    row.get::<_, String>(0).expect("a name"),
                    row.get::<_, u64>(1).expect("a position"),
                )
            });
            for (subscription, cursor) in cursors {
                let done = "SELECT position FROM _done WHERE subscription = ?1";
                let done: BTreeSet<u64> = all_of(&store, done, [&subscription]);
                // The bus after the store: what comes in between is not finished.
                let wanted = "SELECT position FROM event
                    WHERE position > ?1 AND event ->> 'type' = ?2";
                let wanted: BTreeSet<u64> = all_of(&self.bus(), wanted, (cursor, &subscription));
                let open: Vec<&u64> = wanted.difference(&done).collect();
                if !open.is_empty() {
                    unfinished.push(format!("{service}/{subscription} after {cursor}: {open:?}"));
                }
                let held = "SELECT position FROM _held WHERE subscription = ?1";
                let held: BTreeSet<u64> = all_of(&store, held, [&subscription]);
                if !held.is_empty() {
                    unfinished.push(format!("{service}/{subscription} holds {held:?}"));
                }
            }
        }
        unfinished
    }

    /// What a ledger wrote, by SQL and by key and value.
    pub fn logs(&self, service: &str) -> Logs {
        let store = self.store(service);
        let mut logs = Logs::new();
        let entries = "SELECT key, number FROM entries ORDER BY id";
        for (key, number) in all(&store, entries, key_and_number) {
            logs.entry(key).or_default().push(number);
        }
        // A large one is beside its key.
        let values = "SELECT key, coalesce(_kv_large.value, _kv.value)
            FROM _kv LEFT JOIN _kv_large ON _kv_large.id = _kv.large WHERE bucket = 'logs'";
        let values = all(&store, values, |row| {
            (row.get::<_, String>(0).expect("a key"), row.get::<_, Vec<u8>>(1).expect("a value"))
        });
        for (key, value) in values {
            let text = String::from_utf8(value).expect("a text");
            let numbers =
                text.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
            logs.entry(key).or_default().extend(numbers);
        }
        logs
    }

    /// A ledger's dead letters: numbers by key, in the order in which they died.
    pub fn dead(&self, service: &str) -> Logs {
        let dead = "SELECT CAST(event AS TEXT) ->> '$.data.key',
            CAST(event AS TEXT) ->> '$.data.number' FROM _dead ORDER BY id";
        let mut logs = Logs::new();
        for (key, number) in all(&self.store(service), dead, key_and_number) {
            logs.entry(key).or_default().push(number);
        }
        logs
    }

    /// Why a ledger's dead letters died.
    pub fn reasons(&self, service: &str) -> BTreeSet<String> {
        let reasons = "SELECT DISTINCT reason FROM _dead";
        all(&self.store(service), reasons, |row| row.get(0).expect("a text")).into_iter().collect()
    }

    /// A service's store, for reading.
    pub fn store(&self, service: &str) -> Connection {
        open(&self.data.join("stores").join(format!("{service}.db")))
    }

    /// The bus, for reading.
    pub fn bus(&self) -> Connection {
        open(&self.data.join("bus.db"))
    }

    fn services(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data.join("stores")).expect("the stores");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            Some(name.strip_suffix(".db")?.to_owned())
        };
        entries.filter_map(name).collect()
    }
}

/// Asserts that each key has its numbers in their order and once, and that all of
/// `acknowledged` are there; `sent` is how many of each were, from 0 on.
pub fn assert_exactly_once(
    logs: &Logs,
    acknowledged: &BTreeMap<String, BTreeSet<u64>>,
    sent: &BTreeMap<String, u64>,
) {
    for (key, numbers) in logs {
        let ordered = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ordered, "{key} is out of order, or has one twice: {numbers:?}");
        let sent = sent.get(key).copied().unwrap_or_default();
        assert!(numbers.last().is_none_or(|last| *last < sent), "{key}: {numbers:?} of {sent}");
    }
    for (key, acknowledged) in acknowledged {
        let there: BTreeSet<u64> = logs.get(key).into_iter().flatten().copied().collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "{key} lost {lost:?}, which were acknowledged; there are {there:?}"
        );
    }
}

fn key_and_number(row: &Row<'_>) -> (String, u64) {
    (row.get(0).expect("a key"), row.get(1).expect("a number"))
}

pub fn one<T: rusqlite::types::FromSql>(connection: &Connection, statement: &str) -> T {
    connection.query_row(statement, (), |row| row.get(0)).expect("a row")
}

pub fn all<T>(connection: &Connection, statement: &str, row: impl Fn(&Row<'_>) -> T) -> Vec<T> {
    let mut prepared = connection.prepare(statement).expect("a statement");
    let rows = prepared.query_map((), |each| Ok(row(each))).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn one_of<T: rusqlite::types::FromSql>(
    connection: &Connection,
    statement: &str,
    of: impl rusqlite::ToSql,
) -> T {
    connection.query_row(statement, [of], |row| row.get(0)).expect("a row")
}

fn all_of(connection: &Connection, statement: &str, of: impl rusqlite::Params) -> BTreeSet<u64> {
    let mut prepared = connection.prepare(statement).expect("a statement");
    let rows = prepared.query_map(of, |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
    connection.pragma_update(None, "query_only", true).expect("only for reading");
    connection
}
