//! Admission: how many of a service's invocations run and how many wait.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::downloads::{Downloads, Taking};

/// How often who waits looks whether there are permits that are of no use.
const LOOK: Duration = Duration::from_millis(250);

/// A service's permits and its bounded queue.
#[derive(Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    /// Half of the permits: as many bodies that take their time may have one.
    uploads: Arc<Semaphore>,
    downloads: Downloads,
    /// As many answers may be streams.
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
    concurrency: usize,
    queue: usize,
    max_streams: usize,
}

/// The right to run one invocation; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    permit: OwnedSemaphorePermit,
}

/// Where one that had a permit waits for another.
#[derive(Debug)]
pub struct Line(Arc<Semaphore>);

impl Permit {
    /// The permit of an invocation that waits for this one, as soon as no other runs by it;
    /// never where there is none.
    pub async fn lent(by: Option<Arc<Semaphore>>) -> Self {
        let Some(by) = by else { return pending().await };
        let permit = by.acquire_owned().await.expect("the semaphore is never closed");
        Self { permit }
    }

    /// The line that it came from.
    #[must_use]
    pub fn line(&self) -> Line {
        Line(Arc::clone(self.permit.semaphore()))
    }
}

impl Line {
    /// Waits for a permit, behind those who wait already. It has no place in the queue: the
    /// invocation was admitted before.
    pub async fn admit_again(self) -> Permit {
        let permit = self.0.acquire_owned().await.expect("the semaphore is never closed");
        Permit { permit }
    }
}

/// As many invocations wait as the service's manifest allows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{running} invocations run and {queue} wait, which is the limit")]
pub struct QueueFull {
    running: usize,
    queue: usize,
}

impl Admission {
    /// `concurrency` permits, at most `queue` invocations that wait for one, and at most
    /// `streams` answers that go on without.
    #[must_use]
    pub fn new(concurrency: usize, queue: usize, streams: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(concurrency)),
            uploads: Arc::new(Semaphore::new(concurrency.div_ceil(2))),
            downloads: Downloads::default(),
            streams: Arc::new(Semaphore::new(streams)),
            waiting: AtomicUsize::new(0),
            concurrency,
            queue,
            max_streams: streams,
        }
    }

    /// Waits for a permit, first come first served.
    ///
    /// # Errors
    /// When the queue is full.
    pub async fn admit(&self) -> Result<Permit, QueueFull> {
        if let Some(permit) = self.try_admit() {
            return Ok(permit);
        }
        let _place =
            Place::take(self).ok_or(QueueFull { running: self.concurrency, queue: self.queue })?;
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            let cut = self.downloads.make_room(self.concurrency / 2);
            if cut > 0 {
                tracing::info!(cut, "answers that their clients don't take made room for others");
            }
            tokio::select! {
                biased;
                permit = &mut permit => {
                    let permit = permit.expect("the semaphore is never closed");
                    return Ok(Permit { permit });
                }
                () = sleep(LOOK) => {}
            }
        }
    }

    /// A permit, where one is free and nobody waits for it.
    #[must_use]
    pub fn try_admit(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Permit { permit })
    }

    /// An answer that is still coming as its head leaves: it gives its permit to another and
    /// goes on as a stream, where there may be one more. Returns whether it is one.
    pub fn streams(&self, taking: &Arc<Taking>) -> bool {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        let is_stream = place.is_ok();
        if let Ok(place) = place {
            taking.becomes_stream(place);
        } else {
            taking.finds_no_place();
            // Those of them that nobody takes make room for the next.
            self.downloads.make_room_among_streams(self.max_streams / 2);
        }
        self.downloads.add(taking);
        is_stream
    }

    /// A guest goes on whose answer is over: as with a client that takes nothing, it is cut off
    /// where others wait for its permit.
    pub fn goes_on_for_nobody(&self, taking: &Arc<Taking>) {
        self.downloads.add(taking);
    }

    /// How many answers are streams.
    #[must_use]
    pub fn streaming(&self) -> usize {
        self.max_streams - self.streams.available_permits()
    }

    /// Waits until a request may ask for a permit whose body takes its time: however many of
    /// them there are, others find half of the permits. It holds until the body has come.
    pub async fn admit_upload(&self) -> OwnedSemaphorePermit {
        let uploads = Arc::clone(&self.uploads);
        uploads.acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Waits for a permit for a delivery, in one line with the others. Deliveries
    /// have no place in the queue: how many wait is their subscriptions' matter.
    pub async fn admit_delivery(&self) -> Permit {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        Permit { permit }
    }

    /// Whether it gives these limits.
    #[must_use]
    pub fn has_limits(&self, concurrency: usize, queue: usize, streams: usize) -> bool {
        (self.concurrency, self.queue, self.max_streams) == (concurrency, queue, streams)
    }

    /// How many invocations wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many permits are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }
}

/// A place in the queue; given up when dropped, also by a client that leaves.
struct Place<'a>(&'a Admission);

impl<'a> Place<'a> {
    fn take(admission: &'a Admission) -> Option<Self> {
        let place = Place(admission);
        // Counted first, so that two that come at once cannot both take the last place.
        let before = admission.waiting.fetch_add(1, Ordering::Relaxed);
        (before < admission.queue).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_concurrency_they_queue_and_beyond_the_queue_they_are_refused() {
        let admission = Arc::new(Admission::new(1, 1, 1));
        let running = admission.admit().await.expect("the first runs");
        let queued = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit().await.is_ok() }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.admit().await.err(), Some(QueueFull { running: 1, queue: 1 }));
        drop(running);
        assert!(queued.await.expect("the queued one runs"));
        assert_eq!((admission.waiting(), admission.available()), (0, 1));
    }
}
