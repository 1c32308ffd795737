//! The newest lines of the log, in memory.
//!
//! When there is no more room the oldest lines go of whom has most, whoever has read them or
//! not: what a service prints, what the host says of it, and what it says of itself are each
//! by themselves, so that no service's lines push out another's. A reader has nothing here but the position that it is at, so that a slow one
//! costs the host nothing; it is told how many lines it missed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use utoipa::ToSchema;

use super::line::{LogLevel, LogLine};
use super::source::Source;

/// How many lines are looked at while the ring is locked: whoever logs waits
/// for no more than that.
const CHUNK: usize = 256;

/// How many lines are looked at for one page: where few fit, a page is short.
const MAX_LOOKED_AT: usize = 8192;

/// The newest lines; whoever has it may log and read.
#[derive(Clone, Debug)]
pub struct Logs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    ring: Mutex<Ring>,
    grown: Notify,
    missed: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    /// By position.
    lines: BTreeMap<u64, Arc<LogLine>>,
    bytes: usize,
    by_source: HashMap<Source, OfOne>,
    /// The newest line's, whether it is still there or not.
    last: u64,
}

/// What is there of one source, which has some.
#[derive(Debug, Default)]
struct OfOne {
    positions: VecDeque<u64>,
    bytes: usize,
}

/// Some of the lines, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// The `after` of the next page.
    pub next: u64,
    /// The position of the newest line.
    pub last: u64,
    /// How many of those after `after` are not kept any more.
    pub missed: u64,
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct WantedLines {
    /// Those that this service says, or that are about it.
    pub service: Option<String>,
    /// Those that matter at least so much.
    pub level: LogLevel,
    /// Those since then, in milliseconds since 1970.
    pub since: u64,
}

/// How many lines there were, and what became of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) logged: u64,
    pub(super) dropped: u64,
    pub(super) missed: u64,
}

impl WantedLines {
    fn fits(&self, line: &LogLine) -> bool {
        line.level >= self.level
            && line.logged_at >= self.since
            && (self.service.is_none() || self.service == line.service)
    }
}

impl Logs {
    /// Keeps lines of so many bytes together.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let inner = Inner {
            max_bytes,
            ring: Mutex::default(),
            grown: Notify::new(),
            missed: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes a line in; it gets its position here. Never waits for a reader.
    pub(super) fn keep(&self, line: LogLine) {
        let mut ring = self.lock();
        ring.push(line);
        while ring.bytes > self.inner.max_bytes && ring.make_room() {}
        drop(ring);
        self.inner.grown.notify_waiters();
    }

    /// The newest of those that are wanted.
    #[must_use]
    pub fn newest(&self, limit: usize, wanted: &WantedLines) -> LogPage {
        let last = self.lock().last;
        let (mut lines, mut before) = (VecDeque::new(), last + 1);
        while lines.len() < limit {
            let chunk = self.lock().before(before);
            let Some(first) = chunk.first() else { break };
            before = first.position;
            for line in chunk.iter().rev().filter(|line| wanted.fits(line)) {
                if lines.len() < limit {
                    lines.push_front(LogLine::clone(line));
                }
            }
        }
        LogPage { lines: lines.into(), next: last, last, missed: 0 }
    }

    /// Those that are wanted after a position, or from the oldest on; a position
    /// that is still to come is of an earlier run, and everything is after it. The
    /// page may be short, or empty, and not the last; that has `next` at `last`.
    #[must_use]
    pub fn after(&self, after: Option<u64>, limit: usize, wanted: &WantedLines) -> LogPage {
        let (oldest, last) = self.lock().extent();
        let begin = after.map_or(oldest - 1, |after| if after > last { 0 } else { after });
        let mut page = LogPage { lines: Vec::new(), next: begin, last, missed: 0 };
        for _ in 0..MAX_LOOKED_AT / CHUNK {
            let (chunk, last) = self.lock().after(page.next);
            page.last = last;
            if chunk.is_empty() {
                // Those up to the newest, if there were any, are gone.
                page.missed += last - page.next;
                page.next = last;
                break;
            }
            for line in chunk {
                if page.lines.len() == limit {
                    return page;
                }
                // Also what went while the page was made.
                page.missed += line.position - page.next - 1;
                page.next = line.position;
                if wanted.fits(&line) {
                    page.lines.push(LogLine::clone(&line));
                }
            }
        }
        page
    }

    /// Waits until there is a line after this position.
    pub async fn grown(&self, after: u64) {
        loop {
            let mut grown = pin!(self.inner.grown.notified());
            // Register interest before looking, so that no line is slept through.
            grown.as_mut().enable();
            if self.lock().last != after {
                return;
            }
            grown.await;
        }
    }

    /// Counts lines that whoever follows did not get.
    pub fn count_missed(&self, lines: u64) {
        self.inner.missed.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let ring = self.lock();
        let logged = ring.last;
        let dropped = logged - ring.lines.len() as u64;
        Counts { logged, dropped, missed: self.inner.missed.load(Ordering::Relaxed) }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Gives a line its position.
    fn push(&mut self, mut line: LogLine) {
        self.last += 1;
        line.position = self.last;
        let of_one = self.by_source.entry(Source::of_line(&line)).or_default();
        of_one.positions.push_back(line.position);
        of_one.bytes += line.bytes();
        self.bytes += line.bytes();
        self.lines.insert(line.position, Arc::new(line));
    }

    /// Gives up the oldest line of whom has most. Says whether there was one.
    fn make_room(&mut self) -> bool {
        let most = self.by_source.values_mut().max_by_key(|of_one| of_one.bytes);
        let Some(of_one) = most else { return false };
        let oldest = of_one.positions.pop_front();
        let Some(line) = oldest.and_then(|oldest| self.lines.remove(&oldest)) else {
            return false;
        };
        of_one.bytes -= line.bytes();
        self.bytes -= line.bytes();
        if of_one.positions.is_empty() {
            self.by_source.remove(&Source::of_line(&line));
        }
        true
    }

    /// The positions of the oldest line, or the next where there is none, and of
    /// the newest.
    fn extent(&self) -> (u64, u64) {
        let oldest = self.lines.first_key_value().map(|(position, _)| *position);
        (oldest.unwrap_or(self.last + 1), self.last)
    }

    /// The next lines after a position, some of them, and the newest's position.
    fn after(&self, position: u64) -> (Vec<Arc<LogLine>>, u64) {
        let chunk = self.lines.range(position + 1..).take(CHUNK);
        (chunk.map(|(_, line)| Arc::clone(line)).collect(), self.last)
    }

    /// The lines just before a position, some of them.
    fn before(&self, position: u64) -> Vec<Arc<LogLine>> {
        let chunk = self.lines.range(..position).rev().take(CHUNK);
        let mut chunk: Vec<_> = chunk.map(|(_, line)| Arc::clone(line)).collect();
        chunk.reverse();
        chunk
    }
}

#[cfg(test)]
mod tests;
