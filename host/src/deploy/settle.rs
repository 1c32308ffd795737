//! When a pair of plugin files is whole. Time is passed in, so that this is
//! only the rules.
//!
//! - A rename into place and a close after writing settle a file, but for the
//!   short while in which the other file of the pair may follow.
//! - A file that is being written waits for its close, however slowly it is
//!   written; only when it stands still for very long it is taken as it is.
//! - Anything else (a link, a removal, changed permissions) settles when it was
//!   quiet. So a removal that another file follows is a replacement.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::plugin_file::{Part, Stem};

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Created,
    Opened,
    Written,
    Closed {
        after_writing: bool,
    },
    RenamedInto,
    /// Removed or renamed away.
    Gone,
    /// Permissions changed; found changed by a rescan; to be looked at again.
    Other,
}

/// The changes that have not settled yet; at most two per pair.
#[derive(Debug)]
pub(super) struct Settling {
    pair: Duration,
    quiet: Duration,
    stalled: Duration,
    pairs: HashMap<Stem, [Option<Pending>; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    state: State,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There, and nobody was seen to have it open.
    Created,
    /// Opened right after it was made; nothing written yet.
    Opened,
    /// Written to, not closed yet.
    Writing,
    /// Waits out its time.
    Whole,
}

impl Settling {
    pub(super) fn new(pair: Duration, quiet: Duration, stalled: Duration) -> Self {
        Self { pair, quiet, stalled, pairs: HashMap::new() }
    }

    /// Takes note of a change.
    pub(super) fn note(&mut self, stem: &Stem, part: Part, change: Change, now: Instant) {
        let before = self.pairs.get(stem).and_then(|pair| pair[part as usize]);
        let state = before.map(|pending| pending.state);
        let (state, wait) = match (change, state) {
            (Change::RenamedInto | Change::Closed { after_writing: true }, _) => {
                (State::Whole, self.pair)
            }
            (Change::Written, _) => (State::Writing, self.stalled),
            (Change::Created, _) => (State::Created, self.quiet),
            // The one who made it has it open: it is about to be written.
            (Change::Opened, Some(State::Created)) => (State::Opened, self.stalled),
            // It was only read, as after `ln`: back to waiting for quiet.
            (Change::Closed { .. }, Some(State::Opened)) => (State::Created, self.quiet),
            (Change::Gone, _) | (Change::Other, None | Some(State::Created | State::Whole)) => {
                (State::Whole, self.quiet)
            }
            // The close will tell.
            (Change::Other, Some(State::Opened | State::Writing)) => return,
            // Reading a file changes nothing.
            (Change::Opened | Change::Closed { .. }, _) => return,
        };
        let pair = self.pairs.entry(stem.clone()).or_default();
        pair[part as usize] = Some(Pending { state, due: now + wait });
    }

    /// Whether the pair has changes that have not settled.
    pub(super) fn is_pending(&self, stem: &Stem) -> bool {
        self.pairs.contains_key(stem)
    }

    /// The pairs that have settled; they are forgotten here.
    pub(super) fn take_settled(&mut self, now: Instant) -> Vec<Stem> {
        let settled = self.pairs.iter().filter(|(_, pair)| due(pair).is_none_or(|due| due <= now));
        let settled: Vec<Stem> = settled.map(|(stem, _)| stem.clone()).collect();
        for stem in &settled {
            self.pairs.remove(stem);
        }
        settled
    }

    /// When the next pair may settle, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pairs.values().filter_map(due).min()
    }
}

/// A pair settles when both of its files have.
fn due(pair: &[Option<Pending>; 2]) -> Option<Instant> {
    pair.iter().flatten().map(|pending| pending.due).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Duration = Duration::from_millis(50);
    const QUIET: Duration = Duration::from_millis(300);
    const STALLED: Duration = Duration::from_secs(10);
    const CLOSED: Change = Change::Closed { after_writing: true };

    struct Folder {
        settling: Settling,
        now: Instant,
    }

    impl Folder {
        fn new() -> Self {
            Self { settling: Settling::new(PAIR, QUIET, STALLED), now: Instant::now() }
        }

        fn note(&mut self, part: Part, changes: &[Change]) {
            for change in changes {
                self.settling.note(&Stem::new("cart"), part, *change, self.now);
            }
        }

        /// How long until `cart` settles if nothing else happens.
        fn settles_after(&mut self) -> Option<Duration> {
            let due = self.settling.next_due()?;
            assert!(self.settling.take_settled(due - Duration::from_millis(1)).is_empty());
            let wait = due - self.now;
            self.now = due;
            assert_eq!(self.settling.take_settled(due), [Stem::new("cart")]);
            assert_eq!(self.settling.next_due(), None);
            Some(wait)
        }
    }

    #[test]
    fn a_close_after_writing_or_a_rename_settles_at_once() {
        let mut folder = Folder::new();
        folder.note(Part::Component, &[Change::Created, Change::Opened, Change::Written, CLOSED]);
        assert_eq!(folder.settles_after(), Some(PAIR));
        folder.note(Part::Component, &[Change::RenamedInto, Change::Opened]);
        assert_eq!(folder.settles_after(), Some(PAIR));
    }

    #[test]
    fn a_slow_writer_is_waited_for_however_long_it_pauses() {
        let mut folder = Folder::new();
        folder.note(Part::Component, &[Change::Written, Change::Opened]);
        for _ in 0..20 {
            folder.now += Duration::from_secs(5);
            assert!(folder.settling.take_settled(folder.now).is_empty());
            folder
                .note(Part::Component, &[Change::Written, Change::Closed { after_writing: false }]);
        }
        folder.note(Part::Component, &[CLOSED]);
        assert_eq!(folder.settles_after(), Some(PAIR));
        folder.note(Part::Component, &[Change::Created, Change::Opened]);
        assert_eq!(folder.settles_after(), Some(STALLED));
    }

    #[test]
    fn links_and_removals_settle_when_it_is_quiet() {
        let mut folder = Folder::new();
        folder.note(Part::Component, &[Change::Created]);
        assert_eq!(folder.settles_after(), Some(QUIET));
        folder.note(
            Part::Component,
            &[Change::Created, Change::Opened, Change::Closed { after_writing: false }],
        );
        assert_eq!(folder.settles_after(), Some(QUIET));
        folder.note(Part::Component, &[Change::Other]);
        assert_eq!(folder.settles_after(), Some(QUIET));
        folder.note(Part::Component, &[Change::Written, Change::Gone]);
        assert_eq!(folder.settles_after(), Some(QUIET));
        // Removed and written anew: one change.
        folder.note(
            Part::Component,
            &[Change::Gone, Change::Created, Change::Opened, Change::Written, CLOSED],
        );
        assert_eq!(folder.settles_after(), Some(PAIR));
    }

    #[test]
    fn a_pair_waits_for_the_file_that_is_still_written() {
        let mut folder = Folder::new();
        folder.note(Part::Component, &[Change::Written]);
        folder.note(Part::Manifest, &[CLOSED]);
        folder.now += Duration::from_secs(1);
        assert!(folder.settling.take_settled(folder.now).is_empty());
        folder.note(Part::Component, &[CLOSED]);
        assert_eq!(folder.settles_after(), Some(PAIR));
    }

    #[test]
    fn reading_a_file_changes_nothing() {
        let mut folder = Folder::new();
        folder.note(Part::Component, &[Change::Opened, Change::Closed { after_writing: false }]);
        assert_eq!(folder.settles_after(), None);
    }
}
