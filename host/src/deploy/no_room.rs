//! A disk without room: whichever step of a deployment finds it, it is said as what it is.

use std::error::Error;
use std::io;

use super::record::RecordError;
use crate::bus::BusError;
use crate::machine::is_shortage;
use crate::room::Room;
use crate::state::{self, MigrationError};

/// Why a deployment ends that finds no room.
pub(super) const NO_ROOM: &str =
    "the host's disk is full: make room on the disk of its data folder (--data)";

/// Why one is tried again that finds too little of what a process needs.
pub(super) const SHORTAGE: &str = "the host has too few descriptors, processes or memory at the \
                                   moment (ulimit -n, -u): it is tried again by itself";

/// Whether a file could not be written for want of room.
pub(super) fn is_of_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why something failed; that there is no room, or too little else, in the words of all that fails
/// for it.
pub(super) fn reason(error: &(dyn Error + 'static), room: &Room) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is_want_of_room(error, room) {
            return NO_ROOM.to_owned();
        }
        if error.downcast_ref().is_some_and(is_shortage) {
            return SHORTAGE.to_owned();
        }
        cause = error.source();
    }
    error.to_string()
}

fn is_want_of_room(error: &(dyn Error + 'static), room: &Room) -> bool {
    let of_store = match error.downcast_ref::<MigrationError>() {
        Some(MigrationError::Store(error)) => Some(error),
        _ => error.downcast_ref::<state::Error>(),
    };
    match of_store {
        // It has a limit of its own, too.
        Some(error) => matches!(error, state::Error::Full) && room.is_full(),
        None => {
            error.downcast_ref::<io::Error>().is_some_and(is_of_disk)
                || matches!(error.downcast_ref(), Some(RecordError::NoRoom))
                || matches!(error.downcast_ref(), Some(BusError::DiskFull))
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn want_of_room_is_said_alike_wherever_it_is_found() {
        let room = Room::default();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(reason(&full, &room), NO_ROOM);
        assert_eq!(reason(&RecordError::NoRoom, &room), NO_ROOM);
        assert_eq!(reason(&BusError::DiskFull, &room), NO_ROOM);
        let short = io::Error::from(Errno::MFILE);
        assert_eq!(reason(&short, &room), SHORTAGE);
        let absent = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(reason(&absent, &room), absent.to_string());
        // The disk has some: it is the store's own limit.
        let of_store = MigrationError::Store(state::Error::Full);
        assert_eq!(reason(&of_store, &room), "the store is full");
    }
}
