//! A guest's statements on the writer's connection: each is done or leaves nothing.

use std::sync::Arc;
use std::time::Instant;

use super::{Terms, Writer};
use crate::state::error::Error;
use crate::state::history::Footprint;
use crate::state::raw;
use crate::state::sql::{Access, Deadlines, Execution, Rows, Scope, Value};

/// What a lease holder did so far.
#[derive(Default)]
pub(super) struct Lease {
    /// Whether its savepoint has something that a failed statement must not take with it.
    dirty: bool,
    last_insert_id: i64,
    /// Why it can do no more: the transaction is undone, with all of its group.
    lost: Option<Error>,
}

impl Lease {
    pub(super) fn new(dirty: bool) -> Self {
        Self { dirty, ..Self::default() }
    }

    pub(super) fn has_written(&mut self) {
        self.dirty = true;
    }

    pub(super) fn lose(&mut self, error: &Error) {
        self.lost.get_or_insert_with(|| error.clone());
    }
}

impl Writer {
    /// Whether the lease holder can go on.
    pub(in crate::state) fn check_lease(&self) -> Result<(), Error> {
        self.lease.lost.clone().map_or(Ok(()), Err)
    }

    /// Judges what SQLite would judge at COMMIT, which is too late: others are in it.
    pub(in crate::state) fn judge_lease(&self) -> Result<(), Error> {
        let violated = raw::violates_deferred_keys(&self.connection);
        if violated { Err(Error::ForeignKey) } else { Ok(()) }
    }

    pub(in crate::state) fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
        terms: &Terms<'_>,
        footprint: &mut Footprint,
    ) -> Result<Rows, Error> {
        self.guest(footprint, |writer| writer.scope(terms).query(statement, parameters))
    }

    pub(in crate::state) fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
        terms: &Terms<'_>,
        footprint: &mut Footprint,
    ) -> Result<Execution, Error> {
        let changes =
            self.guest(footprint, |writer| writer.scope(terms).execute(statement, parameters))?;
        Ok(Execution { changes, last_insert_id: self.lease.last_insert_id })
    }

    /// Runs a guest's statement. `footprint` has it where it was done and wrote.
    fn guest<R>(
        &mut self,
        footprint: &mut Footprint,
        run: impl FnOnce(&Self) -> Result<(R, bool), Error>,
    ) -> Result<R, Error> {
        self.check_lease()?;
        raw::set_last_insert_rowid(&self.connection, self.lease.last_insert_id);
        let result = run(self);
        self.survive(result.as_ref().err().cloned())?;
        let (value, wrote) = result?;
        if wrote {
            self.lease.dirty = true;
            self.lease.last_insert_id = self.connection.last_insert_rowid();
            footprint.sql = true;
        }
        Ok(value)
    }

    /// Whether the transaction is still there after a statement that came to this. SQLite
    /// gives it up at some failures: a disk that is full, memory that is not there, a writing
    /// statement that is stopped.
    pub(in crate::state) fn survive(&mut self, error: Option<Error>) -> Result<(), Error> {
        let is_lost = self.hooks.take_lost() || self.connection.is_autocommit();
        // What could not be undone by itself is undone with all the rest.
        if is_lost || matches!(error, Some(Error::Unavailable(_))) {
            let error = Error::given_up(error);
            self.break_group(&error);
            return Err(error);
        }
        Ok(())
    }

    fn scope<'a>(&'a self, terms: &Terms<'a>) -> Scope<'a> {
        let options = &self.core.options;
        let timeout = Instant::now() + options.statement_timeout;
        let Terms { deadlines: Deadlines { reading, writing }, budget, gone, runtime } = *terms;
        let deadlines = Deadlines { reading: reading.min(timeout), writing: writing.min(timeout) };
        Scope {
            connection: &self.connection,
            sandbox: &self.sandbox,
            options,
            // The lease's own savepoint does for its first statement.
            access: Access::Write { savepoint: self.lease.dirty, programs: self.look_at_programs },
            deadlines,
            budget: budget.clone(),
            gone: Some(Arc::clone(gone)),
            runtime,
        }
    }
}
