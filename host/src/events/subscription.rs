//! A subscription's dispatcher: reads the bus after its position, hands what it
//! wants to the handlers, a key's events one after the other, and settles what
//! they did not finish.
//!
//! It holds nothing that the store doesn't have: a host that dies at any moment
//! goes on from the cursor, the done and the held.

mod commands;
mod failing;
mod news;
mod reading;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::command::Command;
use super::delivery::{Attempt, Ending};
use super::held::{Held, Waiting};
use super::lanes::Lanes;
use super::settling::{self, Settling};
use super::status::Status;
use super::target::Target;
use super::window::{Load, Positioned, Window};
use crate::bus::Bus;
use crate::manifest::Subscription;
use crate::name::ServiceName;
use crate::state::{Consumption, Store};

pub(super) use news::{Change, News};

/// How long a store that could not take a settlement is left alone.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// What a dispatcher works on.
pub(super) struct Parts {
    pub(super) bus: Bus,
    pub(super) store: Arc<Store>,
    pub(super) target: Target,
    /// Whose it is.
    pub(super) service: ServiceName,
    /// Its name in the store.
    pub(super) name: Arc<str>,
    /// The last event that it wants, where it has an end: a replay.
    pub(super) until: Option<u64>,
    pub(super) status: Arc<Status>,
    /// Ends it.
    pub(super) stop: CancellationToken,
}

/// A subscription at work.
pub(super) struct Dispatcher {
    parts: Arc<Parts>,
    settings: Subscription,
    scanned: u64,
    window: Window,
    held: Held,
    /// Keys with events that are on their way among the held.
    settling: HashMap<Arc<str>, usize>,
    /// Those events.
    on_their_way: Load,
    /// Events that were given up and wait again, for what of their key is with its
    /// handler.
    revived: HashMap<Arc<str>, u64>,
    lanes: Lanes,
    /// Events whose last delivery conflicted with others, and how often in a row.
    conflicts: HashMap<u64, u32>,
    slots: Arc<Semaphore>,
    rests_until: Option<Instant>,
    /// Deliveries and settlements that have not ended.
    under_way: usize,
    // Bounded by what is under way.
    to_settle: mpsc::UnboundedSender<Settling>,
    news: mpsc::UnboundedReceiver<News>,
    // Bounded by what is under way.
    tell: mpsc::UnboundedSender<News>,
}

impl Dispatcher {
    /// A dispatcher that goes on where its store says; `None` where the store
    /// has no such subscription.
    pub(super) async fn load(
        parts: Parts,
        settings: Subscription,
    ) -> Result<Option<Self>, crate::state::Error> {
        let progress = parts.store.load_subscription(&parts.name).await?;
        let Some(progress) = progress else { return Ok(None) };
        let (mut held, mut lanes) = (Held::default(), Lanes::default());
        let mut after = 0;
        loop {
            let entries = parts.store.held(&parts.name, after, 1_000).await?;
            let Some(last) = entries.last() else { break };
            after = last.position;
            for entry in entries {
                let origin = lanes.name(&entry.origin);
                lanes.hold(&origin, entry.bytes);
                held.load(entry, origin);
            }
        }
        let rest = parts.target.recall(&parts.store, &parts.name).await?;
        if let Some((reason, _)) = rest {
            parts.status.note_error(reason);
        }
        let parts = Arc::new(parts);
        let (tell, news) = mpsc::unbounded_channel();
        let (to_settle, queue) = mpsc::unbounded_channel();
        tokio::spawn(settling::in_order(Arc::clone(&parts), queue, tell.clone()));
        Ok(Some(Self {
            slots: Arc::new(Semaphore::new(settings.concurrency)),
            parts,
            settings,
            scanned: progress.cursor,
            window: Window::default(),
            held,
            settling: HashMap::new(),
            on_their_way: Load::default(),
            revived: HashMap::new(),
            lanes,
            conflicts: HashMap::new(),
            rests_until: rest.map(|(_, pause)| Instant::now() + pause),
            under_way: 0,
            to_settle,
            news,
            tell,
        }))
    }

    /// Works until it is stopped, or until a replay is over. What is under way
    /// then is waited for; but not for a store that takes no settlement.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stop = self.parts.stop.clone();
        let mut grown = self.parts.bus.grown();
        while !stop.is_cancelled() {
            // Marked as seen before it is read, so that no growth is missed.
            grown.mark_unchanged();
            self.make_room();
            self.refill().await;
            self.take_back();
            self.start_deliveries(None);
            self.report();
            if self.is_over() {
                break;
            }
            self.wait(&mut commands, &mut grown, &stop).await;
        }
        while self.under_way > 0 {
            match self.news.recv().await {
                Some(news) => self.take(news),
                None => break,
            }
        }
        self.report();
        // Whoever comes next goes on from the rows.
        self.parts.store.unload_subscription(&self.parts.name);
    }

    /// Waits for whatever comes first, and takes it.
    async fn wait(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        grown: &mut watch::Receiver<u64>,
        stop: &CancellationToken,
    ) {
        // One may have come back since none was found.
        let wants_slot = self.may_start();
        let slots = Arc::clone(&self.slots);
        let timer = tokio::time::sleep_until(self.next_time().into());
        tokio::select! {
            () = stop.cancelled() => {}
            Some(news) = self.news.recv() => {
                self.take(news);
                while let Ok(news) = self.news.try_recv() {
                    self.take(news);
                }
            }
            Some(command) = commands.recv() => self.obey(command),
            _ = grown.changed(), if self.wants_more() => {}
            permit = slots.acquire_owned(), if wants_slot => {
                self.start_deliveries(permit.ok());
            }
            () = timer => {}
        }
    }

    /// Starts what may be started; with `permit`, if there is one, first.
    fn start_deliveries(&mut self, mut permit: Option<OwnedSemaphorePermit>) {
        while self.may_start() {
            let slot = permit.take().or_else(|| Arc::clone(&self.slots).try_acquire_owned().ok());
            let Some(slot) = slot else { return };
            let Some(mut attempt) = self.next_attempt() else { return };
            self.lanes.begin(&attempt.origin);
            self.under_way += 1;
            let (parts, tell) = (Arc::clone(&self.parts), self.tell.clone());
            let (longest, conflicts) = (self.settings.backoff.max, self.conflicts(&attempt));
            tokio::spawn(async move {
                let attempted = AssertUnwindSafe(parts.attempt(&mut attempt, slot)).catch_unwind();
                // Whatever it held was given back, and it is an attempt as any other.
                let ending = attempted.await.unwrap_or_else(|_| Ending::panicked());
                if let Ending::Conflicted(_) = ending {
                    let random = fastrand::f64();
                    let wait = backoff::wait_after_conflict(longest, conflicts + 1, random);
                    // Its key waits with it, and nothing else.
                    _ = attempt.stop.run_until_cancelled(sleep(wait)).await;
                }
                // The dispatcher waits for it, so it is there.
                let _ = tell.send(News::Ended(attempt, ending));
            });
        }
    }

    /// The next event to be delivered: one that is due again, or a new one.
    fn next_attempt(&mut self) -> Option<Attempt> {
        let (now, now_ms, lanes) = (Instant::now(), self.now_ms(), &self.lanes);
        let admits = |origin: &str| lanes.admits(origin, now);
        if let Some((key, position, waiting)) = self.held.next(now_ms, admits) {
            let Waiting { attempts, event, origin, .. } = waiting;
            return Some(Attempt {
                key,
                origin,
                position,
                event,
                number: attempts + 1,
                held: true,
                stop: self.parts.stop.clone(),
            });
        }
        let (key, Positioned { position, event }) = self.window.next(admits)?;
        let origin = self.lanes.name(event.origin());
        let (event, stop) = (Some(event), self.parts.stop.clone());
        Some(Attempt { key, origin, position, event, number: 1, held: false, stop })
    }

    /// For how long something has been due, or waits.
    fn now_ms(&self) -> u64 {
        self.parts.bus.clock().steady_ms()
    }

    /// What is due later than any wait is long is due now: the clock was set back.
    fn take_back(&mut self) {
        let longest = self.settings.backoff.max.as_millis();
        let now = self.now_ms();
        let latest = now.saturating_add(u64::try_from(longest).unwrap_or(u64::MAX));
        let taken = self.held.take_back(latest, now);
        if taken > 0 {
            let (service, subscription) = self.parts.labels();
            tracing::warn!(
                service,
                subscription,
                taken,
                "held events were due too late: they are due now"
            );
        }
    }

    /// How often in a row an event's deliveries have conflicted with others.
    fn conflicts(&self, attempt: &Attempt) -> u32 {
        self.conflicts.get(&attempt.position).copied().unwrap_or_default()
    }

    fn may_start(&self) -> bool {
        let now = Instant::now();
        let admits = |origin: &str| self.lanes.admits(origin, now);
        let is_due = || self.held.next_due(admits).is_some_and(|due| due <= self.now_ms());
        !self.rests() && (self.window.has_ready(admits) || is_due())
    }

    /// A replay that has nothing left to do.
    fn is_over(&self) -> bool {
        let ended = self.parts.until.is_some_and(|until| self.scanned >= until);
        ended && self.under_way == 0 && self.window.len() == 0 && self.held.len() == 0
    }

    /// When something is due that nothing else tells of.
    fn next_time(&self) -> Instant {
        let now = Instant::now();
        // One that is due and was not started waits for a slot, for its lane's trial or for the
        // end of a pause, all of which wake; or it came due just now.
        let starts = self.may_start() && self.slots.available_permits() > 0;
        let held = self.held.next_due(|origin| self.lanes.admits(origin, now));
        let held = held
            .map(|due| due.saturating_sub(self.now_ms()))
            .filter(|wait| *wait > 0 || starts)
            .map(|wait| now + Duration::from_millis(wait.max(1)));
        let times = [held, self.lanes.until(now), self.rests_until];
        let rests = self.rests_until.filter(|until| *until > now);
        let next = times.into_iter().flatten().filter(|time| *time > now).min();
        rests.or(next).unwrap_or(now + Duration::from_secs(60))
    }

    /// Whether it makes a pause.
    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&mut self, pause: Duration) {
        self.rests_until = Some(Instant::now() + pause);
    }

    fn consumption(&self, position: u64, held: bool) -> Consumption {
        Consumption { subscription: Arc::clone(&self.parts.name), position, held }
    }
}

impl Parts {
    /// Whose it is and what it is called, for the log.
    pub(super) fn labels(&self) -> (&str, &str) {
        (self.service.as_str(), &self.name)
    }

    /// Hands an event to its handler; reads it from its row first where memory
    /// doesn't have it.
    async fn attempt(&self, attempt: &mut Attempt, slot: OwnedSemaphorePermit) -> Ending {
        if attempt.stop.is_cancelled() {
            return Ending::given_back();
        }
        let event = match &attempt.event {
            Some(event) => Arc::clone(event),
            None => match self.store.held_event(&self.name, attempt.position).await {
                Ok(Some(event)) => Arc::clone(attempt.event.insert(event)),
                // It was taken out: there is nothing left to do for it.
                Ok(None) => return Ending::Finished,
                Err(error) => {
                    let reason = error.to_string();
                    return Ending::Undelivered { reason, pause: SETTLE_PAUSE };
                }
            },
        };
        self.target.deliver(&self.store, &self.name, attempt, event, slot).await
    }
}
