//! What a dispatcher is told, and what it tells.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Change, Dispatcher};
use crate::events::command::{Command, Refusal, Reply};
use crate::events::held::Waiting;
use crate::events::status::{Report, State};
use crate::events::window::Positioned;
use crate::state::{Due, HeldEntry, Settlement};

impl Dispatcher {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Update(settings) => {
                if settings.concurrency != self.settings.concurrency {
                    self.slots = Arc::new(Semaphore::new(settings.concurrency));
                }
                self.settings = *settings;
                // Another version may do better.
                _ = self.resume();
            }
            Command::Revived { key, position, origin } => {
                self.revive(&Arc::from(key), position, origin);
            }
            Command::Skip { position, reply } => {
                let done = self.skip(position);
                self.do_or_refuse(done, reply);
            }
            Command::Retry { position, reply } => {
                let done = self.retry(position);
                self.do_or_refuse(done, reply);
            }
            Command::Resume { reply } => {
                let was_paused = self.resume();
                let now = self.now_ms();
                self.held.take_back(now, now);
                // Nobody waits any more when this fails.
                _ = reply.send(was_paused);
            }
        }
    }

    /// An event that was given up waits again, before those of its key: what of them
    /// is not with its handler yet waits behind it, and it waits for what is.
    fn revive(&mut self, key: &Arc<str>, position: u64, origin: String) {
        let behind = self.window.take_waiting(key);
        let (due, reason) = (Due::At(0), String::new());
        let lane = self.lanes.name(&origin);
        self.lanes.hold(&lane, 0);
        let (key_text, bytes) = (key.to_string(), 0);
        let entry = HeldEntry { position, key: key_text, attempts: 0, due, reason, origin, bytes };
        self.held.load(entry, lane);
        if self.window.is_busy(key) {
            self.held.reserve(key, position);
            self.revived.insert(Arc::clone(key), position);
        }
        self.hold_all_behind(key, behind);
    }

    /// Gives those their turn that were revived while another of their key was with
    /// its handler.
    pub(super) fn free_revived(&mut self) {
        let window = &self.window;
        let free: Vec<_> = self.revived.extract_if(|key, _| !window.is_busy(key)).collect();
        for (key, position) in free {
            let behind = self.window.take(&key);
            self.hold_all_behind(&key, behind);
            self.held.free(&key, position);
        }
    }

    pub(super) fn hold_all_behind(&mut self, key: &Arc<str>, events: VecDeque<Positioned>) {
        if !events.is_empty() {
            self.hold_behind(events.into_iter().map(|event| (Arc::clone(key), event)).collect());
        }
    }

    /// Shows how it stands.
    pub(super) fn report(&self) {
        let state = if self.lanes.any_pauses() || self.rests() {
            State::Paused
        } else if self.is_full() {
            State::Full
        } else {
            State::Running
        };
        self.parts.status.set_report(Report {
            state,
            scanned: self.scanned,
            window: self.window.len(),
            held: self.held.len(),
            oldest_held: self.held.oldest(),
            parked: self.held.parked(),
        });
    }

    /// Ends all pauses. Returns whether there was one.
    fn resume(&mut self) -> bool {
        let paused = self.lanes.any_pauses() || self.rests();
        self.lanes.begin_anew();
        self.rests_until = None;
        let was_sent_nothing = self.parts.target.wake();
        if was_sent_nothing {
            // It may ask for just this.
            self.parts.status.forget_error();
        }
        paused || was_sent_nothing
    }

    fn do_or_refuse(&mut self, done: Result<(Settlement, Option<Change>), Refusal>, reply: Reply) {
        match done {
            Ok((settlement, change)) => {
                let changes = change.into_iter().chain([Change::Answer(reply)]);
                self.settle(vec![settlement], changes.collect());
            }
            // Nobody waits any more when this fails.
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Counts an event as finished that no handler has at the moment.
    fn skip(&mut self, position: u64) -> Result<(Settlement, Option<Change>), Refusal> {
        if let Some(key) = self.held.key_of(position) {
            if self.held.is_busy(&key, position) {
                return Err(Refusal::Busy);
            }
            if self.held.first(&key) == Some(position) {
                self.held.reserve(&key, position);
            }
            let consumption = self.consumption(position, true);
            return Ok((Settlement::Skip { consumption }, Some(Change::Left { key, position })));
        }
        if self.window.is_busy_with(position) {
            return Err(Refusal::Busy);
        }
        self.window.remove(position).ok_or(Refusal::NotWaiting)?;
        Ok((Settlement::Skip { consumption: self.consumption(position, false) }, None))
    }

    /// Makes a held event due now, with all its attempts before it.
    fn retry(&mut self, position: u64) -> Result<(Settlement, Option<Change>), Refusal> {
        let key = self.held.key_of(position).ok_or(Refusal::NotWaiting)?;
        match self.held.first(&key) {
            Some(first) if first != position => return Err(Refusal::Behind(first)),
            _ if self.held.is_busy(&key, position) => return Err(Refusal::Busy),
            _ => {}
        }
        let waiting = self.held.get(&key, position).cloned().ok_or(Refusal::NotWaiting)?;
        self.held.reserve(&key, position);
        let waiting = Waiting { attempts: 0, due: Due::At(0), ..waiting };
        let settlement = Settlement::Defer {
            consumption: self.consumption(position, true),
            attempts: 0,
            due: waiting.due,
            reason: waiting.reason.clone(),
        };
        Ok((settlement, Some(Change::Deferred { key, position, waiting })))
    }
}
