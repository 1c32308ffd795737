//! What a subscription has read off the bus and not finished, by key: one event
//! of a key at a time, keys in parallel.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::bus::Recorded;
use crate::event::Event;

/// An event with its position on the bus.
#[derive(Clone, Debug)]
pub(super) struct Positioned {
    pub(super) position: u64,
    pub(super) event: Arc<Event>,
}

impl From<Recorded> for Positioned {
    fn from(recorded: Recorded) -> Self {
        Self { position: recorded.position, event: recorded.event }
    }
}

/// Events by key, in their order.
#[derive(Debug, Default)]
pub(super) struct Window {
    keys: HashMap<Arc<str>, Queue>,
    /// Keys whose first event may be delivered, in the order they became so.
    ready: VecDeque<Arc<str>>,
    load: Load,
}

/// How many events there are, and what they have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Positioned>,
    /// Whether the first is with its handler.
    busy: bool,
}

impl Window {
    /// How many events are in it, those with their handlers included.
    pub(super) fn len(&self) -> usize {
        self.load.events
    }

    /// The same, with their bytes.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Whether an event may be delivered now of those whose lanes admit one.
    pub(super) fn has_ready(&self, admits: impl Fn(&str) -> bool) -> bool {
        self.first_admitted(admits).is_some()
    }

    fn first_admitted(&self, admits: impl Fn(&str) -> bool) -> Option<usize> {
        self.ready.iter().position(|key| {
            let first = self.keys.get(key).and_then(|queue| queue.events.front());
            first.is_some_and(|first| admits(first.event.origin()))
        })
    }

    /// Keys that are ready, but whose first event is in such a lane.
    pub(super) fn ready_in(&self, is_so: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let first = |key: &Arc<str>| self.keys.get(key).and_then(|queue| queue.events.front());
        let in_lane = |key: &&Arc<str>| first(key).is_some_and(|each| is_so(each.event.origin()));
        self.ready.iter().filter(in_lane).cloned().collect()
    }

    /// Adds an event behind those of its key.
    pub(super) fn push(&mut self, key: &Arc<str>, event: Positioned) {
        self.load.add(&event.event);
        let queue = self.keys.entry(Arc::clone(key)).or_default();
        queue.events.push_back(event);
        if queue.events.len() == 1 {
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// The next event to be delivered of those whose lanes admit one. Its key is busy from
    /// here on.
    pub(super) fn next(&mut self, admits: impl Fn(&str) -> bool) -> Option<(Arc<str>, Positioned)> {
        let index = self.first_admitted(admits)?;
        let key = self.ready.remove(index)?;
        let queue = self.keys.get_mut(&key)?;
        queue.busy = true;
        let first = queue.events.front()?.clone();
        Some((key, first))
    }

    /// The key's first event is finished; its next may be delivered.
    pub(super) fn finished(&mut self, key: &Arc<str>) {
        let Some(queue) = self.keys.get_mut(key) else { return };
        if let Some(first) = queue.events.pop_front() {
            self.load.remove(&first.event);
        }
        queue.busy = false;
        if queue.events.is_empty() {
            self.keys.remove(key);
        } else {
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// The key's first event is to be delivered again, before the others.
    pub(super) fn again(&mut self, key: &Arc<str>) {
        if let Some(queue) = self.keys.get_mut(key) {
            queue.busy = false;
            self.ready.push_front(Arc::clone(key));
        }
    }

    /// Takes all events of a key out, the first one included.
    pub(super) fn take(&mut self, key: &Arc<str>) -> VecDeque<Positioned> {
        let events = self.keys.remove(key).map(|queue| queue.events).unwrap_or_default();
        events.iter().for_each(|event| self.load.remove(&event.event));
        self.ready.retain(|ready| ready != key);
        events
    }

    /// Takes the events of a key out that are not with their handler.
    pub(super) fn take_waiting(&mut self, key: &Arc<str>) -> VecDeque<Positioned> {
        match self.keys.get_mut(key).filter(|queue| queue.busy) {
            None => self.take(key),
            Some(queue) => {
                let waiting = queue.events.split_off(1);
                waiting.iter().for_each(|event| self.load.remove(&event.event));
                waiting
            }
        }
    }

    /// Whether an event of the key is with its handler.
    pub(super) fn is_busy(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|queue| queue.busy)
    }

    /// Whether the event is with its handler.
    pub(super) fn is_busy_with(&self, position: u64) -> bool {
        let first = |queue: &Queue| queue.events.front().map(|event| event.position);
        self.keys.values().any(|queue| queue.busy && first(queue) == Some(position))
    }

    /// Takes one event out that is not with its handler.
    pub(super) fn remove(&mut self, position: u64) -> Option<Positioned> {
        let (key, index) = self.keys.iter().find_map(|(key, queue)| {
            let index = queue.events.iter().position(|event| event.position == position)?;
            (index > 0 || !queue.busy).then(|| (Arc::clone(key), index))
        })?;
        let queue = self.keys.get_mut(&key)?;
        let removed = queue.events.remove(index)?;
        if queue.events.is_empty() {
            self.keys.remove(&key);
            self.ready.retain(|ready| *ready != key);
        }
        self.load.remove(&removed.event);
        Some(removed)
    }
}

impl Load {
    pub(super) fn add(&mut self, event: &Event) {
        self.events += 1;
        self.bytes += event.size();
    }

    pub(super) fn remove(&mut self, event: &Event) {
        self.events -= 1;
        self.bytes -= event.size();
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self { events: self.events + other.events, bytes: self.bytes + other.bytes }
    }

    /// Whether there may be one more, of whatever size: so there is one at the least.
    pub(super) fn is_below(self, most: Self) -> bool {
        self.events < most.events && self.bytes < most.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: u64) -> Positioned {
        let event = Event {
            id: position.to_string().into(),
            source: "/test".into(),
            event_type: "test".into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            extensions: crate::event::Extensions::new(),
            data: None,
        };
        Positioned { position, event: Arc::new(event) }
    }

    fn window(events: &[(&str, u64)]) -> Window {
        let mut window = Window::default();
        for (key, position) in events {
            window.push(&Arc::from(*key), event(*position));
        }
        window
    }

    fn next(window: &mut Window) -> Option<(String, u64)> {
        window.next(|_| true).map(|(key, event)| (key.to_string(), event.position))
    }

    #[test]
    fn a_key_has_one_event_with_its_handler_at_a_time() {
        let mut window = window(&[("a", 1), ("a", 2), ("b", 3)]);
        assert_eq!(next(&mut window), Some(("a".to_owned(), 1)));
        assert_eq!(next(&mut window), Some(("b".to_owned(), 3)));
        assert_eq!(next(&mut window), None);
        window.finished(&Arc::from("a"));
        assert_eq!(next(&mut window), Some(("a".to_owned(), 2)));
        assert_eq!(window.len(), 2);
        window.finished(&Arc::from("a"));
        window.finished(&Arc::from("b"));
        assert_eq!((window.load(), window.keys.len()), (Load::default(), 0));
    }

    #[test]
    fn the_next_is_of_a_lane_that_admits_one() {
        let mut window = window(&[("a", 1), ("b", 2)]);
        assert!(!window.has_ready(|origin| origin != "outside"));
        assert!(window.next(|origin| origin != "outside").is_none());
        let keys = window.ready_in(|origin| origin == "outside");
        assert_eq!(keys, [Arc::from("a"), Arc::from("b")]);
        assert_eq!(next(&mut window), Some(("a".to_owned(), 1)));
    }

    #[test]
    fn an_event_that_comes_while_its_key_is_busy_waits() {
        let mut window = window(&[("a", 1)]);
        assert_eq!(next(&mut window), Some(("a".to_owned(), 1)));
        window.push(&Arc::from("a"), event(2));
        assert_eq!(next(&mut window), None);
        window.again(&Arc::from("a"));
        assert_eq!(next(&mut window), Some(("a".to_owned(), 1)), "the same again, first");
        window.finished(&Arc::from("a"));
        assert_eq!(next(&mut window), Some(("a".to_owned(), 2)));
    }

    #[test]
    fn a_keys_events_are_taken_out_together() {
        let mut window = window(&[("a", 1), ("b", 2), ("a", 3)]);
        next(&mut window);
        let taken = window.take(&Arc::from("a"));
        assert_eq!(taken.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(next(&mut window), Some(("b".to_owned(), 2)));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn only_an_event_that_no_handler_has_is_removed() {
        let mut window = window(&[("a", 1), ("a", 2), ("b", 3)]);
        next(&mut window);
        assert!(window.remove(1).is_none());
        assert!(window.is_busy_with(1) && !window.is_busy_with(2));
        assert!(window.remove(2).is_some());
        assert!(window.remove(3).is_some());
        assert_eq!(next(&mut window), None);
        window.finished(&Arc::from("a"));
        assert_eq!(window.load(), Load::default());
    }

    #[test]
    fn its_load_has_bytes_and_there_is_always_room_for_one_event() {
        let most = Load { events: 10, bytes: 1 };
        assert!(Load::default().is_below(most), "also for one that is larger");
        let window = window(&[("a", 1), ("b", 2)]);
        let bytes = 2 * event(1).event.size();
        assert_eq!(window.load(), Load { events: 2, bytes });
        assert!(!window.load().is_below(most));
        assert!(!window.load().is_below(Load { events: 2, bytes: 1 << 20 }));
        assert!(window.load().is_below(Load { events: 3, bytes: 1 << 20 }));
    }
}
