//! A subscription's lanes: one for each source. What one source's events come to is not the
//! others' trouble: each lane has a breaker of its own, and a part of what may be held. One
//! has not more than half of it; of the last quarter only those have something that hold
//! little, so that no number of sources together has all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::breaker::Breaker;
use super::window::Load;

/// Bytes of events that one source may have among the held.
const MAX_HELD_BYTES: usize = 64 << 20;

/// The part of what may be held that is kept for sources that have little there.
const KEPT_PART: usize = 4;

/// By an event's origin. (There are few: services, and all that is outside.)
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<Arc<str>, Lane>);

#[derive(Debug, Default)]
struct Lane {
    breaker: Breaker,
    /// Events that are held, and those on their way there.
    held: Load,
    /// Whether the version that has the traffic has handled one.
    works: bool,
}

impl Lanes {
    /// An origin's name, shared.
    pub(super) fn name(&mut self, origin: &str) -> Arc<str> {
        match self.0.get_key_value(origin) {
            Some((name, _)) => Arc::clone(name),
            None => {
                let name: Arc<str> = Arc::from(origin);
                self.0.insert(Arc::clone(&name), Lane::default());
                name
            }
        }
    }

    /// Whether a delivery of this origin may begin now.
    pub(super) fn admits(&self, origin: &str, now: Instant) -> bool {
        self.0.get(origin).is_none_or(|lane| lane.breaker.admits(now))
    }

    /// One begins, which is the only one where it is to see whether others may.
    pub(super) fn begin(&mut self, origin: &Arc<str>) {
        self.of(origin).breaker.begin();
    }

    pub(super) fn succeeded(&mut self, origin: &Arc<str>) {
        let lane = self.of(origin);
        lane.breaker.succeeded();
        lane.works = true;
    }

    /// The handler's own word that it is no use.
    pub(super) fn rejected(&mut self, origin: &Arc<str>) {
        self.of(origin).breaker.succeeded();
    }

    pub(super) fn undecided(&mut self, origin: &Arc<str>) {
        self.of(origin).breaker.undecided();
    }

    /// Returns whether the lane pauses from here on.
    pub(super) fn failed(&mut self, origin: &Arc<str>, key: &Arc<str>, now: Instant) -> bool {
        self.of(origin).breaker.failed(key, now)
    }

    /// Whether one pauses.
    pub(super) fn pauses(&self, origin: &str) -> bool {
        self.0.get(origin).is_some_and(|lane| lane.breaker.is_open())
    }

    /// Whether any does.
    pub(super) fn any_pauses(&self) -> bool {
        self.0.values().any(|lane| lane.breaker.is_open())
    }

    /// When the first pause is over that is not over yet.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let until = self.0.values().filter_map(|lane| lane.breaker.until());
        until.filter(|until| *until > now).min()
    }

    /// One more is held.
    pub(super) fn hold(&mut self, origin: &Arc<str>, bytes: usize) {
        let held = &mut self.of(origin).held;
        held.events += 1;
        held.bytes += bytes;
    }

    /// One that was counted is no longer held.
    pub(super) fn release(&mut self, origin: &Arc<str>, bytes: usize) {
        let held = &mut self.of(origin).held;
        held.events = held.events.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(bytes);
    }

    /// Whether one has its part of the held, of which there may be `most` in all.
    pub(super) fn is_crowded(&self, origin: &str, most: usize) -> bool {
        let held = self.0.get(origin).map(|lane| lane.held).unwrap_or_default();
        if !held.is_below(Load { events: most.div_ceil(2), bytes: MAX_HELD_BYTES }) {
            return true;
        }
        let all: usize = self.0.values().map(|lane| lane.held.events).sum();
        let free = most.saturating_sub(all);
        if free > most / KEPT_PART {
            return false;
        }
        let holds = |(name, lane): &(&Arc<str>, &Lane)| ***name != *origin && lane.held.events > 0;
        let others = self.0.iter().filter(holds).count();
        held.events >= (free / (others + 2)).max(1)
    }

    /// Whether the handler does its work for another: what fails is this one's fault.
    pub(super) fn others_work(&self, origin: &str) -> bool {
        self.0.iter().any(|(name, lane)| **name != *origin && lane.works && !lane.breaker.is_open())
    }

    /// Whether one has more bytes among the held than it may, and nothing says that it alone
    /// is at fault: nothing more is read.
    pub(super) fn is_full(&self) -> bool {
        let large = |lane: &Lane| lane.held.bytes >= MAX_HELD_BYTES;
        self.0.iter().any(|(name, lane)| large(lane) && !self.others_work(name))
    }

    /// No lane pauses, and what was is no sign of what comes.
    pub(super) fn begin_anew(&mut self) {
        for lane in self.0.values_mut() {
            lane.breaker = Breaker::default();
            lane.works = false;
        }
    }

    fn of(&mut self, origin: &Arc<str>) -> &mut Lane {
        self.0.entry(Arc::clone(origin)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_pauses_by_itself() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        let (evil, cart) = (lanes.name("evil"), lanes.name("cart"));
        assert_eq!(lanes.name("evil"), evil);
        for number in 0..20 {
            lanes.failed(&evil, &Arc::from(number.to_string()), now);
        }
        assert!(lanes.pauses("evil") && !lanes.admits("evil", now));
        assert!(lanes.admits("cart", now) && lanes.admits("new", now));
        assert!(!lanes.others_work("evil"), "nothing says so yet");
        lanes.succeeded(&cart);
        assert!(lanes.others_work("evil") && !lanes.others_work("cart"));
        let later = lanes.until(now).expect("a pause");
        assert!(lanes.admits("evil", later));
        lanes.begin(&evil);
        assert!(!lanes.admits("evil", later), "one alone");
        lanes.begin_anew();
        assert!(lanes.admits("evil", now) && !lanes.others_work("evil"));
    }

    #[test]
    fn no_number_of_lanes_has_all_that_may_be_held() {
        let mut lanes = Lanes::default();
        for number in 0..30 {
            let evil = lanes.name(&format!("evil-{number}"));
            while !lanes.is_crowded(&evil, 10_000) {
                lanes.hold(&evil, 10);
            }
            assert!(lanes.0[&evil].held.events > 0, "{number}");
        }
        assert!(!lanes.is_crowded("cart", 10_000), "there is room for one that has none");
        assert!(lanes.is_crowded("evil-0", 10_000) && lanes.is_crowded("evil-29", 10_000));
    }

    #[test]
    fn a_lane_has_a_part_of_what_may_be_held() {
        let mut lanes = Lanes::default();
        let (evil, cart) = (lanes.name("evil"), lanes.name("cart"));
        (0..5).for_each(|_| lanes.hold(&evil, 10));
        assert!(lanes.is_crowded("evil", 10) && !lanes.is_crowded("cart", 10));
        lanes.release(&evil, 10);
        assert!(!lanes.is_crowded("evil", 10));
        lanes.hold(&evil, MAX_HELD_BYTES);
        assert!(lanes.is_crowded("evil", 1_000) && lanes.is_full());
        lanes.succeeded(&cart);
        assert!(!lanes.is_full(), "it is given up instead");
    }
}
