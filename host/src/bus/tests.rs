//! What the bus promises, each as a sentence.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::event::{Extensions, PARTITION_KEY};

mod appending;
mod bench;
mod failing;
mod files;
mod reading;
mod relaying;
mod repeats;
mod schedules;
mod shares;
mod skipping;
mod times;
mod trimming;

/// Everything that a test has.
const ALL: ReadLimit = ReadLimit { max_events: usize::MAX, max_bytes: usize::MAX };

const HOUR: Duration = Duration::from_secs(60 * 60);

struct Fixture {
    bus: Bus,
    folder: TempDir,
}

impl Fixture {
    fn new(options: BusOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { bus: open(&folder, options), folder }
    }

    /// The bus as the next host finds it.
    async fn reopened(self, options: BusOptions) -> Self {
        self.bus.close().await;
        Self { bus: open(&self.folder, options), folder: self.folder }
    }
}

fn open(folder: &TempDir, options: BusOptions) -> Bus {
    Bus::open(&folder.path().join("bus.db"), options).expect("a bus")
}

#[expect(clippy::needless_pass_by_value, reason = "a test gives numbers and texts")]
fn event(id: impl ToString) -> Event {
    Event {
        id: id.to_string().into(),
        source: "https://shop.example/orders".into(),
        event_type: "shop.order.placed".into(),
        subject: None,
        time: None,
        data_content_type: Some("application/json".into()),
        data_schema: None,
        extensions: Extensions::from_iter([(PARTITION_KEY.into(), Value::Text("ann".into()))]),
        data: Some(r#"{"product":"pear","quantity":3}"#.into()),
    }
}

fn events(ids: impl IntoIterator<Item = impl ToString>) -> Vec<Event> {
    ids.into_iter().map(event).collect()
}

fn outgoing(sequences: impl IntoIterator<Item = u64>) -> Vec<Outgoing> {
    let entry = |sequence| Outgoing { sequence, event: Arc::new(event(format!("o{sequence}"))) };
    sequences.into_iter().map(entry).collect()
}

/// Appends events with these ids, which must be new.
async fn append(bus: &Bus, ids: impl IntoIterator<Item = impl ToString>) {
    let events = events(ids);
    let accepted = events.len();
    let appended = bus.append(Sender::Operator, events).await.expect("room");
    assert_eq!(appended, Appended { accepted, repeats: vec![] });
}

/// The ids of all events in the log.
async fn ids(bus: &Bus) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = 0;
    loop {
        let batch = bus.read(after, ALL).await.expect("a read");
        if batch.events.is_empty() {
            return ids;
        }
        after = batch.upto;
        ids.extend(batch.events.iter().map(|recorded| recorded.event.id.to_string()));
    }
}

/// Stalls commits while it is closed.
#[derive(Clone, Default)]
struct Valve(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    waits: bool,
}

impl Valve {
    fn options(&self) -> BusOptions {
        BusOptions { before_commit: Some(self.hook()), ..BusOptions::default() }
    }

    fn hook(&self) -> BeforeCommit {
        let valve = self.clone();
        Arc::new(move || {
            let (state, changed) = &*valve.0;
            let mut state = state.lock().expect("a lock");
            while state.closed {
                state.waits = true;
                // Bounded, so that a failing test ends.
                let waited = changed.wait_timeout(state, Duration::from_secs(20)).expect("a lock");
                assert!(!waited.1.timed_out(), "the valve is opened in time");
                state = waited.0;
            }
            state.waits = false;
        })
    }

    fn set(&self, closed: bool) {
        self.0.0.lock().expect("a lock").closed = closed;
        self.0.1.notify_all();
    }

    async fn until_someone_waits(&self) {
        let waits = || self.0.0.lock().expect("a lock").waits;
        eventually(waits).await;
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition is met in time");
}
