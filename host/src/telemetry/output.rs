//! The log's way to standard error. A thread of its own writes it, so that nobody who logs
//! waits for whoever reads it, or does not. What waits is bounded, and lines that find no
//! room are counted: what a service prints has the least of it, what is about a service more,
//! and what the host says of itself all. One service has a part, whatever it prints.

#![expect(clippy::disallowed_methods, reason = "this is where the log is written")]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::source::Source;

/// How much waits to be written.
const MAX_BYTES: usize = 4 << 20;

/// What a line takes besides its text, roughly.
const LINE_COST: usize = 64;

/// How much is written at once; one line may be longer.
const BATCH_BYTES: usize = 64 << 10;

/// How often it is said that lines were dropped.
const TOLD_EVERY: Duration = Duration::from_secs(1);

static QUEUE: Queue = Queue::new();

thread_local! {
    /// Whose line it is that this thread is about to write.
    static SOURCE: RefCell<Source> = const { RefCell::new(Source::Host) };
}

/// Lines on their way.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    lines: VecDeque<(Source, Vec<u8>)>,
    bytes: usize,
    by_source: BTreeMap<Source, usize>,
    /// Since it was last said.
    dropped: BTreeMap<Source, u64>,
    told: Option<Instant>,
    /// Since the start.
    all_dropped: u64,
    /// Whether some are being written.
    writes: bool,
}

/// Begins to write. To be called once.
pub(super) fn start() -> anyhow::Result<()> {
    let writer = thread::Builder::new().name("log".to_owned());
    writer.spawn(|| QUEUE.write()).context("a thread for the log")?;
    Ok(())
}

/// Whether somebody sees colours there.
pub(super) fn is_coloured() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Says whose line it is that this thread writes next.
pub(super) fn is_of(source: Source) {
    SOURCE.set(source);
}

/// Takes a line in, or drops it. Never waits for whoever reads it.
pub(super) fn write(line: Vec<u8>) {
    QUEUE.push(SOURCE.replace(Source::Host), line);
}

/// Waits until everything is written; for so long at the most. Says whether it is.
pub(super) fn flush(limit: Duration) -> bool {
    let is_unwritten = |waiting: &mut Waiting| waiting.writes || !waiting.lines.is_empty();
    let (waiting, _) = QUEUE
        .changed
        .wait_timeout_while(QUEUE.lock(), limit, is_unwritten)
        .unwrap_or_else(PoisonError::into_inner);
    !waiting.writes && waiting.lines.is_empty()
}

/// How many lines were dropped.
pub(super) fn dropped() -> u64 {
    QUEUE.lock().all_dropped
}

impl Queue {
    const fn new() -> Self {
        let waiting = Waiting {
            lines: VecDeque::new(),
            bytes: 0,
            by_source: BTreeMap::new(),
            dropped: BTreeMap::new(),
            told: None,
            all_dropped: 0,
            writes: false,
        };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn push(&self, source: Source, line: Vec<u8>) {
        self.lock().push(source, line);
        self.changed.notify_all();
    }

    fn write(&self) -> ! {
        loop {
            let batch = self.next();
            // Whoever read it may have gone.
            _ = io::stderr().lock().write_all(&batch);
            let dropped = {
                let mut waiting = self.lock();
                waiting.writes = false;
                waiting.take_dropped(Instant::now())
            };
            self.changed.notify_all();
            // Also among what is kept. They have room: something was just written.
            for (source, lines) in dropped {
                let service = source.service();
                tracing::warn!(
                    service,
                    lines,
                    "{lines} lines were dropped: standard error was not read in time"
                );
            }
        }
    }

    /// What is to be written next; nothing where it is time to say what was dropped.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if !waiting.lines.is_empty() {
                waiting.writes = true;
                return waiting.take();
            }
            if waiting.dropped.is_empty() {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let since = waiting.told.map_or(TOLD_EVERY, |told| told.elapsed());
            let Some(pause) = TOLD_EVERY.checked_sub(since).filter(|pause| !pause.is_zero()) else {
                return Vec::new();
            };
            let woken = self.changed.wait_timeout(waiting, pause);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, source: Source, line: Vec<u8>) {
        let bytes = line.len() + LINE_COST;
        let of_one = self.by_source.get(&source).copied().unwrap_or_default();
        let (most, most_of_one) = match &source {
            Source::Prints(_) => (MAX_BYTES / 2, MAX_BYTES / 4),
            Source::About(_) => (MAX_BYTES / 4 * 3, MAX_BYTES / 4),
            Source::Host => (MAX_BYTES, MAX_BYTES),
        };
        if self.bytes + bytes > most || of_one + bytes > most_of_one {
            self.all_dropped += 1;
            *self.dropped.entry(source).or_default() += 1;
            return;
        }
        self.bytes += bytes;
        *self.by_source.entry(source.clone()).or_default() += bytes;
        self.lines.push_back((source, line));
    }

    /// Some lines, whole ones: other processes may write to the same place.
    fn take(&mut self) -> Vec<u8> {
        let mut batch = Vec::new();
        while let Some((_, line)) = self.lines.front()
            && (batch.is_empty() || batch.len() + line.len() <= BATCH_BYTES)
            && let Some((source, line)) = self.lines.pop_front()
        {
            let bytes = line.len() + LINE_COST;
            self.bytes -= bytes;
            if let Some(of_one) = self.by_source.get_mut(&source) {
                *of_one -= bytes;
                if *of_one == 0 {
                    self.by_source.remove(&source);
                }
            }
            batch.extend(line);
        }
        batch
    }

    /// How many lines of whom were dropped, where it is time to say so.
    fn take_dropped(&mut self, now: Instant) -> BTreeMap<Source, u64> {
        if self.dropped.is_empty() || self.told.is_some_and(|told| now < told + TOLD_EVERY) {
            return BTreeMap::new();
        }
        self.told = Some(now);
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(queue: &Queue, source: &Source) -> usize {
        let before = queue.lock().lines.len();
        while !queue.lock().dropped.contains_key(source) {
            queue.push(source.clone(), vec![b'x'; 1000]);
        }
        queue.lock().lines.len() - before
    }

    #[test]
    fn what_a_service_prints_leaves_room_for_what_others_say() {
        let queue = Queue::new();
        let prints = |name: &str| Source::Prints(name.into());
        let noisy = fill(&queue, &prints("noisy"));
        let quiet = fill(&queue, &prints("quiet"));
        assert_eq!(noisy, quiet, "each has its part");
        assert!(fill(&queue, &prints("third")) <= 1, "and the rest is not for prints");
        assert!(fill(&queue, &Source::About("noisy".into())) > 0);
        assert!(fill(&queue, &Source::Host) > 0, "the host itself is heard last");
        assert!(queue.lock().bytes <= MAX_BYTES);
    }

    #[test]
    fn what_was_dropped_is_told_when_it_flows_again() {
        let queue = Queue::new();
        let noisy = Source::Prints("noisy".into());
        fill(&queue, &noisy);
        queue.push(noisy.clone(), vec![b'x'; 1000]);
        let (mut waiting, now) = (queue.lock(), Instant::now());
        assert_eq!(waiting.all_dropped, 2);
        assert_eq!(waiting.take_dropped(now).get(&noisy), Some(&2));
        waiting.push(noisy.clone(), vec![b'x'; 1000]);
        assert!(waiting.take_dropped(now).is_empty(), "not each by itself");
        assert_eq!(waiting.take_dropped(now + TOLD_EVERY).get(&noisy), Some(&1));
        let batch = waiting.take();
        assert!(batch.len() <= BATCH_BYTES && batch.len().is_multiple_of(1000), "whole lines");
        while !waiting.take().is_empty() {}
        assert!(waiting.bytes == 0 && waiting.by_source.is_empty());
    }
}
