//! Readers that nobody uses, and the end of a store's file.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Job, Store};
use crate::state::error::Error;
use crate::state::snapshot::IdleReader;
use crate::state::turn;

/// How often [`Store::close`] looks whether the writer is free.
const CLOSE_POLL: Duration = Duration::from_millis(1);

impl Store {
    /// Closes the file, in the background, if nobody used it for as long as the options
    /// say. Returns whether it does.
    pub fn close_if_idle(self: &Arc<Self>, now: Instant) -> bool {
        let last_used = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = now.saturating_duration_since(last_used) >= self.core.options.idle_close;
        is_idle && self.begin_to_close().is_some()
    }

    /// Closes the file once the writer is free; gives up, and says so in the log, where
    /// that takes too long.
    pub async fn close(self: &Arc<Self>) {
        if let Err(error) = self.try_close().await {
            tracing::warn!(service = self.core.service, %error, "its store is left open");
        }
    }

    /// The same.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn try_close(self: &Arc<Self>) -> Result<(), Error> {
        self.patiently("being closed", async {
            let closed = loop {
                match self.begin_to_close() {
                    Some(closed) => break closed,
                    None => tokio::time::sleep(CLOSE_POLL).await,
                }
            };
            closed.await.map_err(|_| self.writer_ended())
        })
        .await
    }

    /// Whether the file is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let idle_readers = self.lock_readers().len();
        let queue = self.lock_queue();
        queue.running || queue.writer.is_some() || idle_readers + self.readers_out() > 0
    }

    /// Closes the file where nothing uses it, on a thread where that may block: the last
    /// connection to close carries the log over. Returns what tells when it is closed.
    fn begin_to_close(self: &Arc<Self>) -> Option<oneshot::Receiver<()>> {
        let (done, closed) = oneshot::channel();
        let (writer, readers) = {
            let mut queue = self.lock_queue();
            if queue.running || self.readers_out() > 0 {
                return None;
            }
            let readers = std::mem::take(&mut *self.lock_readers());
            if queue.writer.is_none() && readers.is_empty() {
                _ = done.send(());
                return Some(closed);
            }
            // As a turn of its own: what comes meanwhile opens the file after it.
            queue.running = true;
            (queue.writer.take(), readers)
        };
        let store = Arc::clone(self);
        let close = move || {
            // Readers first, as above.
            drop(readers);
            drop(writer);
            store.end_closing();
            // Nobody has to wait for it.
            _ = done.send(());
        };
        self.runtime.spawn_blocking(close);
        Some(closed)
    }

    fn end_closing(self: &Arc<Self>) {
        let goes_on = {
            let mut queue = self.lock_queue();
            queue.running = !queue.jobs.is_empty();
            queue.running
        };
        if goes_on {
            turn::start(Arc::clone(self));
        }
    }

    pub(in crate::state) fn pop_reader(&self) -> Option<Box<IdleReader>> {
        // Counted under the lock, so that nobody closes the file in between.
        let mut readers = self.lock_readers();
        self.readers_out.fetch_add(1, Ordering::AcqRel);
        let found = readers.pop().filter(|reader| self.is_current(reader));
        // All were kept before this one was.
        let old = if found.is_none() { std::mem::take(&mut *readers) } else { Vec::new() };
        drop(readers);
        drop(old);
        found
    }

    /// Whether a reader was opened since the schema changed last. Another would read the
    /// schema anew in the middle of the host's own work, which nobody's memory is charged for.
    fn is_current(&self, reader: &IdleReader) -> bool {
        reader.schema() == self.core.sandboxing.schema()
    }

    pub(in crate::state) fn push_reader(self: &Arc<Self>, reader: Option<Box<IdleReader>>) {
        let is_last;
        let surplus = {
            let mut readers = self.lock_readers();
            is_last = self.readers_out.fetch_sub(1, Ordering::AcqRel) == 1;
            match reader {
                Some(reader) if self.is_current(&reader) && self.keeps_reader(readers.len()) => {
                    readers.push(reader);
                    None
                }
                reader => reader,
            }
        };
        drop(surplus);
        if is_last && self.core.log.is_long() {
            // A turn's end begins it anew. A store that failed begins none.
            _ = self.push(Job::Tidy);
        }
    }

    /// Whether nobody reads. Asked under the lock: a reader that comes back later is sure to see
    /// what was noted of the log before.
    pub(in crate::state) fn is_unread(&self) -> bool {
        let _readers = self.lock_readers();
        self.readers_out() == 0
    }

    /// Whether one more reader is kept open beside so many idle ones. They have caches.
    fn keeps_reader(&self, idle: usize) -> bool {
        let options = &self.core.options;
        let memory = self.core.sandboxing.account().used();
        idle < options.max_idle_readers && (idle == 0 || memory < options.max_sql_memory / 2)
    }

    pub(super) fn readers_out(&self) -> usize {
        self.readers_out.load(Ordering::Acquire)
    }

    #[expect(clippy::vec_box, reason = "as they are kept")]
    pub(super) fn lock_readers(&self) -> MutexGuard<'_, Vec<Box<IdleReader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
