//! The events on the bus.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{MAX_PAGE, OperateError, raw, rfc3339};
use crate::bus::{ReadLimit, Recorded};
use crate::event::TypePattern;
use crate::events::engine::Events;

/// What is read off the bus at once for a page, and what a page has of events'
/// texts, roughly.
const READ: ReadLimit = ReadLimit { max_events: MAX_PAGE, max_bytes: 4 << 20 };

/// How often it is read for one page: where few events fit, a page is short.
const MAX_READS: usize = 10;

/// An event on the bus. Field names are stable.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its position on the bus.
    pub position: u64,
    /// When it came there (RFC 3339).
    pub recorded_at: String,
    /// The event (CloudEvents JSON).
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
}

/// Some of the events on the bus, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventView>,
    /// The `after` of the next page.
    pub next: u64,
    /// The position of the newest event on the bus.
    pub last: u64,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those after this position; the newest where there is none.
    pub after: Option<u64>,
    /// So many at the most.
    pub limit: usize,
    /// Those whose type fits.
    pub pattern: Option<TypePattern>,
}

impl Wanted {
    fn fits(&self, recorded: &Recorded) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&recorded.event.event_type))
    }
}

impl Events {
    /// A page of the events that are wanted. It may be short, or empty, and not
    /// the last; that has `next` at `last`.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn page(&self, wanted: &Wanted) -> Result<EventPage, OperateError> {
        let limit = wanted.limit.clamp(1, MAX_PAGE);
        match wanted.after {
            Some(after) => self.page_after(after, limit, wanted).await,
            None => self.newest(limit, wanted).await,
        }
    }

    /// The same, but while there is none it waits, until `deadline` or `stop`.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn page_once_there(
        &self,
        wanted: &Wanted,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<EventPage, OperateError> {
        let mut wanted = wanted.clone();
        // Before it is read, so that no growth is missed.
        let mut grown = self.inner.bus.grown();
        loop {
            grown.mark_unchanged();
            let page = self.page(&wanted).await?;
            if !page.events.is_empty() || page.next < page.last {
                return Ok(page);
            }
            wanted.after = Some(page.next);
            tokio::select! {
                () = stop.cancelled() => return Ok(page),
                () = tokio::time::sleep_until(deadline) => return Ok(page),
                changed = grown.changed() => if changed.is_err() { return Ok(page) },
            }
        }
    }

    async fn page_after(
        &self,
        after: u64,
        limit: usize,
        wanted: &Wanted,
    ) -> Result<EventPage, OperateError> {
        let bus = &self.inner.bus;
        let last = bus.last();
        let mut next = after.min(last);
        let mut events: Vec<EventView> = Vec::new();
        let mut bytes = 0;
        for _ in 0..MAX_READS {
            let batch = bus.read(next, READ).await?;
            for recorded in batch.events {
                if wanted.fits(&recorded) {
                    if events.len() == limit || bytes > READ.max_bytes {
                        return Ok(EventPage { events, next, last: last.max(next) });
                    }
                    bytes += recorded.bytes;
                    events.push(view(&recorded));
                }
                next = recorded.position;
            }
            next = batch.upto;
            if next >= last {
                break;
            }
        }
        Ok(EventPage { events, next, last: last.max(next) })
    }

    async fn newest(&self, limit: usize, wanted: &Wanted) -> Result<EventPage, OperateError> {
        let bus = &self.inner.bus;
        let last = bus.last();
        let mut newest: Vec<EventView> = Vec::new();
        let (mut begin, mut end, mut bytes) = (last, last, 0);
        for _ in 0..MAX_READS {
            begin = begin.saturating_sub(MAX_PAGE as u64).max(bus.first() - 1);
            let room =
                ReadLimit { max_events: limit - newest.len(), max_bytes: READ.max_bytes - bytes };
            for recorded in self.between(begin, end, wanted, room).await?.iter().rev() {
                bytes += recorded.bytes;
                newest.push(view(recorded));
            }
            if newest.len() == limit || begin < bus.first() || bytes > READ.max_bytes {
                break;
            }
            end = begin;
        }
        newest.reverse();
        Ok(EventPage { events: newest, next: last, last })
    }

    /// The newest of those after `begin` up to `end`: as many as there is room for, and
    /// the one with which it is too little, so that this can be told.
    async fn between(
        &self,
        begin: u64,
        end: u64,
        wanted: &Wanted,
        room: ReadLimit,
    ) -> Result<VecDeque<Recorded>, OperateError> {
        let (mut found, mut bytes) = (VecDeque::<Recorded>::new(), 0);
        let mut after = begin;
        while after < end {
            let batch = self.inner.bus.read(after, READ).await?;
            let Some(last) = batch.events.last() else { break };
            after = last.position;
            let until_end = batch.events.into_iter().filter(|recorded| recorded.position <= end);
            for recorded in until_end.filter(|recorded| wanted.fits(recorded)) {
                bytes += recorded.bytes;
                found.push_back(recorded);
                while let Some(oldest) = found.front()
                    && (found.len() > room.max_events || bytes - oldest.bytes > room.max_bytes)
                {
                    bytes -= oldest.bytes;
                    found.pop_front();
                }
            }
        }
        Ok(found)
    }
}

fn view(recorded: &Recorded) -> EventView {
    EventView {
        position: recorded.position,
        recorded_at: rfc3339(recorded.recorded_at),
        event: raw(recorded.event.to_json()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bus::{Bus, BusOptions, Sender};
    use crate::event::Event;
    use crate::service::Registry;

    /// A log with so many events of this size.
    async fn events(folder: &tempfile::TempDir, count: usize, bytes: usize) -> Events {
        let bus = Bus::open(&folder.path().join("bus.db"), BusOptions::default()).expect("a bus");
        let event = |number: usize| {
            let json = format!(
                r#"{{"specversion":"1.0","id":"{number}","source":"/test","type":"test",
                    "data":"{}"}}"#,
                "x".repeat(bytes)
            );
            Event::from_json(json.as_bytes()).expect("an event")
        };
        bus.append(Sender::Operator, (1..=count).map(event)).await.expect("room");
        Events::new(bus, Arc::new(Registry::default()), folder.path(), None)
    }

    fn positions<'a>(found: impl IntoIterator<Item = &'a Recorded>) -> Vec<u64> {
        found.into_iter().map(|recorded| recorded.position).collect()
    }

    #[tokio::test]
    async fn of_the_newest_no_more_are_kept_than_there_is_room_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = events(&folder, 30, 10_000).await;
        let between = async |max_events, max_bytes| {
            let room = ReadLimit { max_events, max_bytes };
            let found = events.between(5, 20, &Wanted::default(), room).await;
            positions(&found.expect("a read"))
        };
        assert_eq!(between(1, usize::MAX).await, [20]);
        assert_eq!(between(100, usize::MAX).await, (6..=20).collect::<Vec<_>>());
        assert_eq!(between(100, 25_000).await, [18, 19, 20], "and the one that is too much");
        assert_eq!(between(100, 0).await, [20], "one at the least");
    }

    #[tokio::test]
    async fn a_page_of_the_newest_has_no_holes_where_they_are_large() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = events(&folder, 1_200, 5_000).await;
        for limit in [1, 10, 1_000] {
            let page = events.page(&Wanted { limit, ..Wanted::default() }).await.expect("a read");
            let found: Vec<u64> = page.events.iter().map(|event| event.position).collect();
            let first = 1_201 - found.len() as u64;
            assert_eq!(found, (first..=1_200).collect::<Vec<_>>());
            assert!(found.len() == limit || (limit == 1_000 && found.len() > 700), "{limit}");
        }
    }
}
