//! Room for bodies on their way, and for the events that they become. It is taken as the
//! bytes come, so that who announces much and sends nothing takes nothing from others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::Sender;

/// What a body takes at the least, whatever comes of it.
const LEAST_BYTES: u64 = 1 << 10;

/// Room for so many bytes.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: u64,
    /// How many of them one sender may have.
    max_each: u64,
    taken: Mutex<Taken>,
}

/// What is taken of it.
#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    by: HashMap<Sender, u64>,
}

/// A body's part of the room; given back when dropped.
#[derive(Debug)]
pub(super) struct Part {
    room: Arc<Room>,
    sender: Sender,
    bytes: u64,
}

/// There is no more room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// For nobody.
    All,
    /// For this sender.
    Sender,
}

impl Room {
    pub(super) fn new(max_bytes: u64, max_each: u64) -> Self {
        Self { max_bytes, max_each, taken: Mutex::default() }
    }

    /// A part for the body of a sender, which grows with it.
    pub(super) fn part(self: &Arc<Self>, sender: Sender) -> Result<Part, Full> {
        let mut part = Part { room: Arc::clone(self), sender, bytes: 0 };
        part.grow(LEAST_BYTES)?;
        Ok(part)
    }

    /// How many bytes are taken.
    pub(super) fn taken(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Takes so much more.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let mut taken = self.room.lock();
        let all = taken.bytes.saturating_add(bytes);
        let own = taken.by.get(&self.sender).copied().unwrap_or_default().saturating_add(bytes);
        if own > self.room.max_each {
            return Err(Full::Sender);
        }
        if all > self.room.max_bytes {
            return Err(Full::All);
        }
        taken.bytes = all;
        taken.by.insert(self.sender, own);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        if let Some(own) = taken.by.get_mut(&self.sender) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                taken.by.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn one_sender_cannot_take_all_of_it_and_gives_back_what_it_took() {
        let room = Arc::new(Room::new(100 << 10, 60 << 10));
        let sender = |bits| Sender::Anybody(Ipv6Addr::from_bits(bits));
        let mut first = room.part(sender(1)).expect("room");
        first.grow(50 << 10).expect("room");
        let mut second = room.part(sender(1)).expect("room");
        assert_eq!(second.grow(9 << 10), Err(Full::Sender));
        let mut other = room.part(sender(2)).expect("room");
        other.grow(30 << 10).expect("room");
        assert_eq!(other.grow(20 << 10), Err(Full::All));
        assert_eq!(room.taken(), 83 << 10);
        drop(first);
        other.grow(20 << 10).expect("room again");
        drop((second, other));
        assert_eq!((room.taken(), room.lock().by.len()), (0, 0));
    }
}
