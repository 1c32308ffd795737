//! A group's commit, and who is told of it.

use super::Writer;
use crate::failpoint;
use crate::state::control::Control;
use crate::state::error::{Error, is_io_failure};
use crate::state::inbox::{self, Advance};
use crate::state::outbox;

impl Writer {
    /// Commits the group and tells its members. Where it cannot be committed, they are done
    /// again.
    pub(in crate::state) fn commit_group(&mut self) {
        if self.group.is_none() {
            return;
        }
        match self.try_commit() {
            Ok(()) => self.carry_log_over(),
            Err(error) => self.judge(&error),
        }
    }

    /// Commits the group and tells its members; where it fails it is undone.
    pub(super) fn try_commit(&mut self) -> Result<(), Error> {
        let Some(group) = &self.group else { return Ok(()) };
        failpoint::stall(&self.core.service);
        if let Some(before_commit) = &self.core.options.before_commit {
            before_commit();
        }
        let advances = self.core.inbox.advances(group.consumed.iter());
        let trim = self.core.outbox.to_trim();
        let written = inbox::write(&self.connection, &advances)
            .and_then(|()| trim.map_or(Ok(()), |upto| outbox::trim(&self.connection, upto)))
            .and_then(|()| {
                before_commit(&advances, trim);
                let _announced = self.hooks.announce();
                self.connection.take(Control::Commit)
            });
        if let Err(error) = written {
            let is_io_failure = is_io_failure(&error);
            if is_io_failure {
                self.core.poison(&error);
            }
            let error = Error::of_commit(&error);
            self.break_group(&error);
            if is_io_failure {
                // Nothing is written again to a file that failed.
                self.tell_undone(&error);
            }
            return Err(error);
        }
        // At once: what is committed must not be undone, whatever comes.
        let Some(group) = self.group.take() else { return Ok(()) };
        after_commit(&advances, trim);
        self.core.note_commit(group.sequence);
        self.core.inbox.confirm(&advances);
        if let Some(upto) = trim {
            self.core.outbox.trimmed(upto);
        }
        self.core.outbox.committed(group.published);
        // Another file may have failed meanwhile: nothing more is acknowledged, though it is
        // there.
        let outcome = self.core.check().map_err(|error| Error::Uncertain(error.to_string()));
        // Before anyone is told: a client that has its answer may repeat at once.
        drop(group.claims);
        failpoint::pass("before gate release");
        for member in group.members {
            member.tell(outcome.clone());
        }
        failpoint::pass("after gate release");
        Ok(())
    }
}

fn before_commit(advances: &[Advance], trim: Option<u64>) {
    failpoint::pass("before commit");
    if !advances.is_empty() {
        failpoint::pass("before cursor commit");
    }
    if trim.is_some() {
        failpoint::pass("before outbox trim");
    }
}

fn after_commit(advances: &[Advance], trim: Option<u64>) {
    failpoint::pass("after commit");
    if !advances.is_empty() {
        failpoint::pass("after cursor commit");
    }
    if trim.is_some() {
        failpoint::pass("after outbox trim");
    }
}
