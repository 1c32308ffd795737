//! Groups that come to nothing: what they took is given back, and those in them that are not
//! at fault are done again.
//!
//! SQLite undoes the whole transaction where a writing statement is stopped, where memory or
//! the disk is used up, and where COMMIT fails. Whoever was done before has no part in it.

use std::collections::VecDeque;
use std::time::Instant;

use super::group::{Member, Work};
use super::{WARY, Writer};
use crate::state::control::Control;
use crate::state::error::Error;

impl Writer {
    /// Undoes the open group and gives back what it took. Its members wait for
    /// [`Writer::redo`]; a lease holder who is not done can do no more.
    pub(super) fn break_group(&mut self, error: &Error) {
        self.lease.lose(error);
        self.wary_until = Some(Instant::now() + WARY);
        self.roll_back();
        if let Some(group) = self.group.take() {
            self.core.inbox.give_back(group.consumed.iter());
            self.undone.extend(group.members);
        }
    }

    /// Tells all that were undone, none of which is done again.
    pub(super) fn tell_undone(&mut self, error: &Error) {
        std::mem::take(&mut self.undone)
            .into_iter()
            .for_each(|member| member.tell(Err(error.clone())));
    }

    /// Judges a group whose commit failed: who was alone in it is at fault.
    pub(super) fn judge(&mut self, error: &Error) {
        if self.undone.len() == 1
            && let Some(member) = self.undone.pop()
        {
            member.tell(Err(error.clone()));
        }
        self.redo();
    }

    /// Does those again whose group was undone: the writer itself what was buffered, the
    /// others their invocations, alone. To be called before anything else is begun: what was
    /// valid in that group still is.
    pub(in crate::state) fn redo(&mut self) {
        if self.undone.is_empty() {
            return;
        }
        let reason = Error::Unavailable("what was to be committed together failed".to_owned());
        let mut buffered = Vec::new();
        for member in std::mem::take(&mut self.undone) {
            match member.work {
                Work::Buffered(_) => buffered.push(member),
                Work::Leased | Work::Host => member.undone(&reason),
            }
        }
        tracing::warn!(
            service = self.core.service,
            members = buffered.len(),
            "a transaction was undone with others' writes in it: they are written again"
        );
        // Halves, until the one that cannot be committed is by itself.
        let mut parts = VecDeque::from([buffered]);
        while let Some(part) = parts.pop_front() {
            let Err((error, mut part)) = self.apply_part(part) else { continue };
            if part.len() > 1 {
                let rest = part.split_off(part.len() / 2);
                parts.push_front(rest);
                parts.push_front(part);
            } else {
                part.into_iter().for_each(|member| member.tell(Err(error.clone())));
            }
        }
    }

    /// Applies and commits these together, and tells them. Where that fails nothing is done,
    /// and they come back.
    fn apply_part(&mut self, part: Vec<Member>) -> Result<(), (Error, Vec<Member>)> {
        let mut rest = VecDeque::from(part);
        while let Some(member) = rest.pop_front() {
            let Work::Buffered(writes) = &member.work else { continue };
            match self.apply_all(writes) {
                Ok(footprint) => self.member_done(&footprint, member),
                // It alone is refused.
                Err(error) if self.group.is_some() => member.tell(Err(error)),
                Err(error) => {
                    let mut back = std::mem::take(&mut self.undone);
                    back.push(member);
                    back.extend(rest);
                    return Err((error, back));
                }
            }
        }
        self.try_commit().map_err(|error| (error, std::mem::take(&mut self.undone)))
    }

    fn roll_back(&self) {
        let _announced = self.hooks.announce();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.take(Control::Rollback)
        {
            self.core.poison(&error);
        }
    }

    /// Answers everyone, where the writer is given up in the middle of it.
    fn abandon(&mut self) {
        let reason = Error::Unavailable("the store's writer failed".to_owned());
        self.break_group(&reason);
        for member in std::mem::take(&mut self.undone) {
            member.undone(&reason);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A panic, or nothing to be undone.
        self.abandon();
    }
}
