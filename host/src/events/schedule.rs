//! The scheduler: appends the events of what is deployed at their times.
//!
//! A tick is appended at most once, whatever crashes when: its event and the
//! schedule's last tick are one commit of the bus. Ticks that are due together,
//! because the host was down or slow, are one: the last of them. Those from
//! before the start are not due where the manifest says `missed = "skip"`. A
//! schedule that is new, or ticks otherwise than it did, begins with the present; so does
//! one that ticked by a clock that was ahead, when that is set back.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::manifest::{Missed, Schedule};
use crate::name::ServiceName;
use crate::service::{Registry, Service, Snapshot};

/// How long the scheduler sleeps at the most: a clock that is set forward is
/// noticed by then.
const MAX_SLEEP: Duration = Duration::from_secs(10);

/// How far a clock is set back, in ms, without ticks coming again.
const MAX_STEP_MS: u64 = 60_000;

/// How long it waits where the bus took nothing.
const RETRY: Duration = Duration::from_secs(2);

/// Appends the events of all schedules of `registry` until `stop`.
///
/// A schedule that is no longer there is forgotten, and begins anew when it comes
/// back. Those of the services that served before the start count as there until
/// `restored`, and after that where `is_lost` says that the service could not be
/// restored: their ticks are missed, and come when they do.
pub async fn run(
    registry: Arc<Registry>,
    bus: Bus,
    restored: impl Future<Output = ()>,
    is_lost: impl Fn(&str) -> bool,
    stop: CancellationToken,
) {
    let mut changed = registry.changed();
    let mut scheduler = Scheduler::new(bus);
    let mut restored = pin!(restored);
    let mut passed = Instant::now();
    loop {
        changed.mark_unchanged();
        let wanted = wanted(&registry.load());
        if scheduler.restored
            && let Err(error) = scheduler.forget_gone(&wanted, &is_lost).await
        {
            tracing::warn!(%error, "schedules that are gone are forgotten later");
        }
        let clock = scheduler.bus.clock().clone();
        let now = clock.now_ms();
        // By a clock that does not jump.
        let since = std::mem::replace(&mut passed, Instant::now()).elapsed();
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let sleep = match scheduler.pass(&wanted, now, since).await {
            Ok(next) => until(next, clock.now_ms()),
            Err(_) if stop.is_cancelled() => return,
            Err(error) => {
                tracing::warn!(%error, "ticks of schedules come later");
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = &mut restored, if !scheduler.restored => scheduler.restored = true,
            _ = changed.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// A schedule and whose it is.
type Wanted = (ServiceName, Schedule);

/// The schedules of the versions with the most traffic.
fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    let of = |service: &Service| {
        let schedules = service.traffic.primary().manifest.schedules.iter();
        let wanted = schedules.map(|schedule| (service.name.clone(), schedule.clone()));
        wanted.collect::<Vec<_>>()
    };
    snapshot.services.values().flat_map(|service| of(service)).collect()
}

/// Whether the schedule has ticked so far in the future that a tick of its own would be
/// left out: the clock was ahead, and was set back. (A step of less than a minute is waited
/// out, so that no tick comes twice for it.)
fn is_ahead(schedule: &Schedule, ticked: u64, now: u64) -> bool {
    let next = || schedule.cron.next_after(now);
    ticked > now.saturating_add(MAX_STEP_MS) && next().is_some_and(|next| next < ticked)
}

fn until(next: Option<u64>, now: u64) -> Duration {
    let sleep = next.map(|next| Duration::from_millis(next.saturating_sub(now)));
    sleep.unwrap_or(MAX_SLEEP).min(MAX_SLEEP)
}

/// What is known of the schedules that have begun.
#[derive(Debug)]
struct Scheduler {
    bus: Bus,
    known: HashMap<(ServiceName, String), Known>,
    /// Whether what served before the start serves again, as far as it can.
    restored: bool,
    /// Whether what earlier hosts had is gone.
    cleaned: bool,
}

#[derive(Debug)]
struct Known {
    rule: String,
    /// What was due until here is appended, or is not to be.
    until: u64,
}

impl Scheduler {
    fn new(bus: Bus) -> Self {
        Self { bus, known: HashMap::new(), restored: false, cleaned: false }
    }

    /// Appends what is due at `now`, `since` ms after it was looked for last. Returns when
    /// the next is; times in ms since 1970.
    async fn pass(
        &mut self,
        wanted: &[Wanted],
        now: u64,
        since: u64,
    ) -> Result<Option<u64>, BusError> {
        let mut next = None;
        for (service, schedule) in wanted {
            let mut due = self.begin(service, schedule, now).await?;
            if is_ahead(schedule, due, now) {
                let (service, schedule) = (service.as_str(), schedule.name.as_str());
                tracing::warn!(service, schedule, "it ticked in the future: it goes on from now");
                // What was due since it was looked for last is.
                due = now.saturating_sub(since);
                self.bus.set_schedule_back(service, schedule, due).await?;
            }
            if let Some(tick) = schedule.cron.last_until(now).filter(|tick| *tick > due) {
                let event = Some(schedule.event(service, tick));
                let name = &schedule.name;
                if self.bus.append_tick(service.as_str(), name, tick, event).await? {
                    tracing::debug!(%service, schedule = name, tick, "a schedule ticked");
                }
                due = tick;
            }
            self.ticked(service, schedule, due);
            let following = schedule.cron.next_after(now.max(due));
            next = next.into_iter().chain(following).min();
        }
        Ok(next)
    }

    /// Until when the schedule's ticks are no longer due.
    async fn begin(
        &mut self,
        service: &ServiceName,
        schedule: &Schedule,
        now: u64,
    ) -> Result<u64, BusError> {
        let (key, rule) = ((service.clone(), schedule.name.clone()), schedule.cron.to_string());
        if let Some(known) = self.known.get(&key).filter(|known| known.rule == rule) {
            return Ok(known.until);
        }
        let last = self.bus.begin_schedule(service.as_str(), &schedule.name, &rule, now).await?;
        let until = match schedule.missed {
            Missed::Once => last,
            Missed::Skip => last.max(now),
        };
        self.known.insert(key, Known { rule, until });
        Ok(until)
    }

    fn ticked(&mut self, service: &ServiceName, schedule: &Schedule, tick: u64) {
        if let Some(known) = self.known.get_mut(&(service.clone(), schedule.name.clone())) {
            known.until = tick;
        }
    }

    /// Forgets the schedules that are no longer there.
    async fn forget_gone(
        &mut self,
        wanted: &[Wanted],
        is_lost: impl Fn(&str) -> bool,
    ) -> Result<(), BusError> {
        let is_wanted = |service: &str, name: &str| {
            wanted.iter().any(|(of, schedule)| of.as_str() == service && schedule.name == name)
        };
        if self.cleaned
            && self.known.keys().all(|(service, name)| is_wanted(service.as_str(), name))
        {
            return Ok(());
        }
        for (service, name) in self.bus.schedules().await? {
            if !is_wanted(&service, &name) && !is_lost(&service) {
                self.bus.end_schedule(&service, &name).await?;
            }
        }
        self.known.retain(|(service, name), _| is_wanted(service.as_str(), name));
        self.cleaned = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
