//! The held events of one subscription, as memory has them: which keys wait, and
//! when the first of each is due. (The rows themselves are in the store.)

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::window::Load;
use crate::event::Event;
use crate::state::{Due, HeldEntry};

/// Events that are kept in memory beside their rows.
const MAX_KEPT: Load = Load { events: 1_000, bytes: 16 << 20 };

/// A held event.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) attempts: u32,
    pub(super) due: Due,
    pub(super) reason: String,
    /// Whose lane it is in, and the bytes that it has there.
    pub(super) origin: Arc<str>,
    pub(super) bytes: usize,
    /// Where it was held since the start; otherwise it is read from its row.
    pub(super) event: Option<Arc<Event>>,
}

/// Held events by key, in their order.
#[derive(Debug, Default)]
pub(super) struct Held {
    keys: HashMap<Arc<str>, BTreeMap<u64, Waiting>>,
    /// When the first of each key is due, in ms since 1970; not of those that
    /// are with their handlers or parked.
    due: BTreeSet<(u64, Arc<str>)>,
    /// Keys whose first event waits for an operator.
    parked: HashSet<Arc<str>>,
    /// Keys whose first event is with its handler, or being settled; and which
    /// that is.
    busy: HashMap<Arc<str>, u64>,
    positions: BTreeSet<u64>,
    /// Those that are in memory.
    kept: Load,
}

impl Held {
    /// How many events are held.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// How many keys wait for an operator.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// The position of the oldest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.positions.first().copied()
    }

    /// Whether the key waits: what comes for it is held, too.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Adds what the store has, in the lane of `origin`.
    pub(super) fn load(&mut self, entry: HeldEntry, origin: Arc<str>) {
        let HeldEntry { position, key, attempts, due, reason, bytes, .. } = entry;
        let key = match self.keys.get_key_value(key.as_str()) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        self.insert(&key, position, Waiting { attempts, due, reason, origin, bytes, event: None });
    }

    /// Adds an event, or replaces it.
    pub(super) fn insert(&mut self, key: &Arc<str>, position: u64, mut waiting: Waiting) {
        if !self.kept.is_below(MAX_KEPT) {
            waiting.event = None;
        }
        self.release(key, position);
        self.unschedule(key);
        if let Some(event) = &waiting.event {
            self.kept.add(event);
        }
        let before = self.keys.entry(Arc::clone(key)).or_default().insert(position, waiting);
        if let Some(event) = before.and_then(|before| before.event) {
            self.kept.remove(&event);
        }
        self.positions.insert(position);
        self.schedule(key);
    }

    /// The first event of the key that is due the longest of those whose lanes admit one, if
    /// one is due. It is with its handler until it is inserted again or removed.
    pub(super) fn next(
        &mut self,
        now_ms: u64,
        admits: impl Fn(&str) -> bool,
    ) -> Option<(Arc<str>, u64, Waiting)> {
        let (due, key) = self.first_admitted(admits)?;
        if *due > now_ms {
            return None;
        }
        let (due, key) = (*due, Arc::clone(key));
        self.due.remove(&(due, Arc::clone(&key)));
        let (position, waiting) = self.keys.get(&key)?.first_key_value()?;
        let next = (Arc::clone(&key), *position, waiting.clone());
        self.busy.insert(key, *position);
        Some(next)
    }

    /// Keeps a key's first event from its handler until it is inserted again or
    /// removed.
    pub(super) fn reserve(&mut self, key: &Arc<str>, position: u64) {
        self.unschedule(key);
        self.busy.insert(Arc::clone(key), position);
    }

    /// Gives a key's first event, which was kept from its handler, its turn.
    pub(super) fn free(&mut self, key: &Arc<str>, position: u64) {
        self.release(key, position);
        self.schedule(key);
    }

    /// Makes what is due after `latest` due at `now`. Returns how many keys that are.
    pub(super) fn take_back(&mut self, latest: u64, now: u64) -> usize {
        let mut taken = 0;
        while self.due.last().is_some_and(|(due, _)| *due > latest.max(now)) {
            let Some((_, key)) = self.due.pop_last() else { break };
            self.due.insert((now, key));
            taken += 1;
        }
        taken
    }

    /// When the next is due of those whose lanes admit one.
    pub(super) fn next_due(&self, admits: impl Fn(&str) -> bool) -> Option<u64> {
        self.first_admitted(admits).map(|(due, _)| *due)
    }

    fn first_admitted(&self, admits: impl Fn(&str) -> bool) -> Option<&(u64, Arc<str>)> {
        self.due.iter().find(|(_, key)| {
            let first = self.keys.get(key).and_then(|events| events.first_key_value());
            first.is_some_and(|(_, first)| admits(&first.origin))
        })
    }

    /// Makes the key's first event due again after one that was not delivered.
    pub(super) fn again(&mut self, key: &Arc<str>, at: u64) {
        self.unschedule(key);
        self.busy.remove(key);
        if self.keys.contains_key(key) {
            self.due.insert((at, Arc::clone(key)));
        }
    }

    /// Takes an event out; the next of its key is due at once.
    pub(super) fn remove(&mut self, key: &Arc<str>, position: u64) -> Option<Waiting> {
        self.release(key, position);
        self.unschedule(key);
        let events = self.keys.get_mut(key)?;
        let removed = events.remove(&position);
        if let Some(removed) = &removed {
            self.positions.remove(&position);
            if let Some(event) = &removed.event {
                self.kept.remove(event);
            }
        }
        if events.is_empty() {
            self.keys.remove(key);
        }
        self.schedule(key);
        removed
    }

    /// The key of a held event.
    pub(super) fn key_of(&self, position: u64) -> Option<Arc<str>> {
        let holds = |events: &BTreeMap<u64, Waiting>| events.contains_key(&position);
        self.keys.iter().find(|(_, events)| holds(events)).map(|(key, _)| Arc::clone(key))
    }

    /// Whether the event is with its handler, or being settled.
    pub(super) fn is_busy(&self, key: &str, position: u64) -> bool {
        self.busy.get(key) == Some(&position)
    }

    /// The position of the key's first event.
    pub(super) fn first(&self, key: &str) -> Option<u64> {
        self.keys.get(key).and_then(|events| events.keys().next()).copied()
    }

    /// A held event.
    pub(super) fn get(&self, key: &str, position: u64) -> Option<&Waiting> {
        self.keys.get(key)?.get(&position)
    }

    fn schedule(&mut self, key: &Arc<str>) {
        if self.busy.contains_key(key) {
            return;
        }
        match self.first_due(key) {
            Some(Due::At(at)) => _ = self.due.insert((at, Arc::clone(key))),
            Some(Due::Parked) => _ = self.parked.insert(Arc::clone(key)),
            None => {}
        }
    }

    fn unschedule(&mut self, key: &Arc<str>) {
        self.parked.remove(key);
        if self.busy.contains_key(key) {
            return;
        }
        if let Some(Due::At(at)) = self.first_due(key)
            && !self.due.remove(&(at, Arc::clone(key)))
        {
            // Made due at another time by `again`.
            self.due.retain(|(_, due)| due != key);
        }
    }

    fn release(&mut self, key: &Arc<str>, position: u64) {
        if self.is_busy(key, position) {
            self.busy.remove(key);
        }
    }

    fn first_due(&self, key: &str) -> Option<Due> {
        self.keys.get(key)?.first_key_value().map(|(_, first)| first.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(at: u64) -> Waiting {
        Waiting {
            attempts: 1,
            due: Due::At(at),
            reason: String::new(),
            origin: Arc::from("a"),
            bytes: 0,
            event: None,
        }
    }

    fn next(held: &mut Held, now: u64) -> Option<(String, u64)> {
        held.next(now, |_| true).map(|(key, position, _)| (key.to_string(), position))
    }

    #[test]
    fn only_the_first_of_a_key_is_due() {
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let mut held = Held::default();
        held.insert(&a, 1, waiting(50));
        held.insert(&a, 2, waiting(0));
        held.insert(&b, 3, waiting(20));
        assert_eq!(held.next_due(|_| true), Some(20));
        assert_eq!(next(&mut held, 10), None);
        assert_eq!(next(&mut held, 60), Some(("b".to_owned(), 3)));
        assert_eq!(next(&mut held, 60), Some(("a".to_owned(), 1)));
        assert_eq!(next(&mut held, 60), None, "both are with their handlers");
        assert!(held.is_busy("a", 1));
        held.remove(&a, 1);
        assert_eq!(next(&mut held, 60), Some(("a".to_owned(), 2)));
        held.again(&a, 70);
        assert_eq!((held.next_due(|_| true), held.len()), (Some(70), 2));
    }

    #[test]
    fn what_is_due_in_a_lane_that_pauses_keeps_no_other_from_its_turn() {
        let mut held = Held::default();
        for (position, key, origin) in [(1, "a", "evil"), (2, "b", "cart"), (3, "c", "evil")] {
            let waiting = Waiting { origin: Arc::from(origin), ..waiting(position) };
            held.insert(&Arc::from(key), position, waiting);
        }
        let admits = |origin: &str| origin != "evil";
        assert_eq!((held.next_due(admits), held.next_due(|_| true)), (Some(2), Some(1)));
        assert_eq!(held.next(10, admits).map(|(_, position, _)| position), Some(2));
        assert_eq!(held.next_due(admits), None);
        assert_eq!(next(&mut held, 10), Some(("a".to_owned(), 1)));
    }

    #[test]
    fn what_comes_or_goes_behind_it_leaves_the_first_with_its_handler() {
        let key = Arc::from("a");
        let mut held = Held::default();
        held.insert(&key, 1, waiting(0));
        assert_eq!(next(&mut held, 60), Some(("a".to_owned(), 1)));
        held.insert(&key, 2, waiting(0));
        held.insert(&key, 3, waiting(0));
        assert_eq!(next(&mut held, 60), None);
        held.remove(&key, 2);
        assert_eq!(next(&mut held, 60), None);
        held.insert(&key, 1, waiting(20));
        assert_eq!((held.next_due(|_| true), held.len()), (Some(20), 2));
        held.reserve(&key, 1);
        assert_eq!((next(&mut held, 60), held.first("a")), (None, Some(1)));
        held.remove(&key, 1);
        assert_eq!(next(&mut held, 60), Some(("a".to_owned(), 3)));
    }

    #[test]
    fn what_is_parked_is_never_due() {
        let key = Arc::from("a");
        let mut held = Held::default();
        held.insert(&key, 1, Waiting { due: Due::Parked, ..waiting(0) });
        held.insert(&key, 2, waiting(0));
        assert_eq!((held.next_due(|_| true), held.parked(), held.oldest()), (None, 1, Some(1)));
        assert!(!held.is_busy("a", 1));
        held.remove(&key, 1);
        assert_eq!((held.next_due(|_| true), held.parked()), (Some(0), 0));
    }

    #[test]
    fn what_is_due_later_than_any_wait_is_due_now() {
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let mut held = Held::default();
        held.insert(&a, 1, waiting(5_000));
        held.insert(&b, 2, waiting(150));
        assert_eq!(held.take_back(200, 100), 1);
        assert_eq!(next(&mut held, 100), Some(("a".to_owned(), 1)));
        assert_eq!(held.next_due(|_| true), Some(150));
        held.insert(&a, 1, waiting(120));
        assert_eq!(held.next_due(|_| true), Some(120));
        held.remove(&a, 1);
        assert_eq!((held.take_back(200, 100), held.next_due(|_| true)), (0, Some(150)));
    }

    #[test]
    fn large_events_are_left_to_their_rows() {
        let json = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/test","type":"test","data":"{}"}}"#,
            "x".repeat(1 << 20)
        );
        let event = Arc::new(Event::from_json(json.as_bytes()).expect("an event"));
        let (key, mut held) = (Arc::from("a"), Held::default());
        let large = || Waiting { event: Some(Arc::clone(&event)), ..waiting(0) };
        for position in 1..=100 {
            held.insert(&key, position, large());
        }
        let kept = |held: &Held| {
            let is_kept = |at: &u64| held.get("a", *at).is_some_and(|each| each.event.is_some());
            (1..=100).filter(is_kept).count()
        };
        assert_eq!((held.len(), kept(&held)), (100, 16));
        // Replaced, and taken out.
        held.insert(&key, 1, large());
        held.remove(&key, 2);
        held.insert(&key, 3, large());
        assert_eq!(kept(&held), held.kept.events);
        (1..=100).for_each(|position| drop(held.remove(&key, position)));
        assert_eq!(held.kept, Load::default());
    }
}
