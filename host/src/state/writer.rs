//! The writer: a store's one writing connection, and the group that is open on it.

mod applying;
mod commit;
mod group;
mod guest;
mod hooks;
mod long_log;
mod undone;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use self::group::{Group, Member, Work};
use self::guest::Lease;
use self::hooks::Hooks;

use super::budget::Budget;
use super::control::{Control, Controlled};
use super::error::{Error, Rerun};
use super::held;
use super::history::{Footprint, History};
use super::idempotency::{self, Keeping, KeptAnswer, KeyClaim};
use super::inbox::Consumption;
use super::keyvalue;
use super::options::StoreOptions;
use super::rollback;
use super::sandbox::Sandbox;
use super::snapshot::{Reads, Writes};
use super::sql::Deadlines;
use super::store::Core;
use crate::journal::Checkpoints;

/// For how long lease holders join no others, nor others them, after a group was undone.
const WARY: Duration = Duration::from_secs(1);

/// Resolves when the group is committed.
pub(super) type Durable = oneshot::Receiver<Result<(), Error>>;

pub(super) struct Writer {
    pub(super) connection: Controlled,
    sandbox: Sandbox,
    hooks: Hooks,
    checkpoints: Checkpoints,
    history: History,
    core: Arc<Core>,
    group: Option<Group>,
    /// Members of a group that was undone, until they are done again.
    undone: Vec<Member>,
    lease: Lease,
    wary_until: Option<Instant>,
    /// Whether the schema has ROLLBACK as a conflict clause, from before it was refused.
    look_at_programs: bool,
    /// When a long log is tried to be cut again.
    cuts_again: Option<Instant>,
}

/// What a lease holder's statements are held to.
pub(super) struct Terms<'a> {
    pub(super) deadlines: Deadlines,
    pub(super) budget: &'a Budget,
    /// Set when nobody waits for the lease holder any more.
    pub(super) gone: &'a Arc<AtomicBool>,
    pub(super) runtime: &'a Handle,
}

impl Writer {
    pub(super) fn open(core: &Arc<Core>) -> Result<Box<Self>, Error> {
        let mut connection = core.open_writer()?;
        let failed = |error: rusqlite::Error| Error::of_host(&error);
        let sandbox = Sandbox::install(&mut connection, &core.sandboxing).map_err(failed)?;
        let hooks = Hooks::install(&mut connection).map_err(failed)?;
        let checkpoints = Checkpoints::install(&mut connection).map_err(failed)?;
        let look_at_programs = rollback::is_in_schema(&connection).map_err(failed)?;
        let history = History::since(core.committed());
        let core = Arc::clone(core);
        Ok(Box::new(Self {
            connection: Controlled::new(connection),
            sandbox,
            hooks,
            checkpoints,
            history,
            core,
            group: None,
            undone: Vec::new(),
            lease: Lease::default(),
            wary_until: None,
            look_at_programs,
            cuts_again: None,
        }))
    }

    /// When the first member of the open group was done.
    pub(super) fn first_done(&self) -> Option<Instant> {
        self.group.as_ref()?.first_done
    }

    /// Whether the open group has members that cannot be done again for a guest's sake.
    pub(super) fn has_host_members(&self) -> bool {
        self.group.as_ref().is_some_and(Group::has_host_members)
    }

    /// Whether a group was undone lately, so that lease holders and others keep apart.
    pub(super) fn is_wary(&self) -> bool {
        self.wary_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether what `reads` saw is still so, also after the open group.
    pub(super) fn still_holds(&self, reads: &Reads) -> bool {
        // One that read nothing has no snapshot to be too old.
        reads.is_empty() || self.history.still_holds(&reads.set, reads.snapshot)
    }

    /// Applies buffered writes as a member of the group. The caller has checked
    /// the reads.
    pub(super) fn apply_member(&mut self, writes: Box<Writes>) -> Result<Durable, Error> {
        let footprint = self.apply_all(&writes)?;
        let (waiting, durable) = oneshot::channel();
        self.member_done(&footprint, Member { waiting, work: Work::Buffered(writes) });
        Ok(durable)
    }

    fn apply_all(&mut self, writes: &Writes) -> Result<Footprint, Error> {
        self.begin_group()?;
        // First, because nothing has to be undone where the event is finished, or
        // the key has an answer.
        if let Some(consumption) = &writes.consumption {
            self.consume(consumption)?;
        }
        if let Some(keeping) = &writes.keeping {
            self.keep_answer(keeping)?;
        }
        let mut footprint = Footprint::default();
        let began = self.begin_to_apply(writes.keys() + writes.publications.len());
        self.apply(writes, began, &mut footprint)?;
        self.publish_since(&writes.publications, began)?;
        Ok(footprint)
    }

    /// Does the host's own work as a member of the group.
    pub(super) fn host_member<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<(Durable, R), Error> {
        self.begin_group()?;
        let result = work(self)?;
        let (waiting, durable) = oneshot::channel();
        self.member_done(&Footprint::default(), Member { waiting, work: Work::Host });
        Ok((durable, result))
    }

    /// Finishes an event with the group.
    pub(super) fn consume(&mut self, consumption: &Consumption) -> Result<(), Error> {
        if consumption.held {
            let taken = held::take(&self.connection, consumption);
            let taken = taken.map_err(|error| self.group_failed(&error))?;
            return if taken { Ok(()) } else { Err(Error::Consumed) };
        }
        if !self.core.inbox.take(&consumption.subscription, consumption.position) {
            return Err(Error::Consumed);
        }
        self.advance(&consumption.subscription);
        Ok(())
    }

    /// Has the group's commit write how far the subscription has come.
    pub(super) fn advance(&mut self, subscription: &Arc<str>) {
        if let Some(group) = &mut self.group {
            group.consumed.push(Arc::clone(subscription));
        }
    }

    /// Opens a group for what has to be written besides members, if there is any.
    pub(super) fn tidy(&mut self) -> Result<(), Error> {
        if self.core.outbox.to_trim().is_some() { self.begin_group() } else { Ok(()) }
    }

    /// Opens a lease holder's savepoint in the group and applies what it had
    /// buffered.
    pub(super) fn begin_lease(
        &mut self,
        writes: &Writes,
        footprint: &mut Footprint,
    ) -> Result<(), Error> {
        self.begin_group()?;
        self.lease = Lease::new(!writes.is_empty());
        self.connection.take(Control::OpenLease).map_err(|error| self.group_failed(&error))?;
        self.apply(writes, self.begin_to_apply(writes.keys()), footprint)
    }

    /// Opens another savepoint of a lease holder's in the one that is open: what was done up to
    /// here stays when it is undone.
    pub(super) fn nest_lease(&mut self) -> Result<(), Error> {
        let nested = self.connection.take(Control::OpenLease);
        nested.map_err(|error| self.group_failed(&error))
    }

    /// Keeps an answer; its claim lasts as long as the group.
    pub(super) fn keep_answer(&mut self, keeping: &Keeping) -> Result<(), Error> {
        let kept = idempotency::keep(&self.connection, keeping, &self.core);
        if !kept.map_err(|error| self.group_failed(&error))? {
            return Err(Error::Rerun(Rerun::Leased));
        }
        if let Some(group) = &mut self.group {
            group.claims.push(keeping.claim.clone());
        }
        Ok(())
    }

    /// The answer kept under the claimed key, also in the open group.
    pub(super) fn kept_answer(&self, claim: &KeyClaim) -> Result<Option<KeptAnswer>, Error> {
        idempotency::find(&self.connection, claim.scope(), &self.core.options)
            .map_err(|error| self.failed(&error))
    }

    /// Takes a batch of expired answers out, as part of the group. Returns
    /// whether there may be more.
    pub(super) fn expire_keys(&mut self) -> Result<bool, Error> {
        let has_future = idempotency::has_future(&self.connection, &self.core);
        if has_future.map_err(|error| self.failed(&error))? {
            self.begin_group()?;
            let taken = idempotency::take_all_back(&self.connection, &self.core);
            taken.map_err(|error| self.group_failed(&error))?;
        }
        let expired = idempotency::is_oldest_expired(&self.connection, &self.core);
        if !expired.map_err(|error| self.failed(&error))? {
            return Ok(false);
        }
        self.begin_group()?;
        let expired = idempotency::expire(&self.connection, &self.core);
        expired.map_err(|error| self.group_failed(&error))?;
        Ok(true)
    }

    /// Makes the lease holder's work part of the group, once it is judged.
    pub(super) fn end_lease(&mut self, footprint: &Footprint) -> Result<Durable, Error> {
        let ended = self.connection.take(Control::CloseLease);
        ended.map_err(|error| self.group_failed(&error))?;
        let (waiting, durable) = oneshot::channel();
        self.member_done(footprint, Member { waiting, work: Work::Leased });
        Ok(durable)
    }

    /// Undoes the lease holder's work; `keep` leaves its savepoint open.
    pub(super) fn undo_lease(&mut self, keep: bool) -> Result<(), Error> {
        // A failure undid the whole group with it.
        self.check_lease()?;
        let undone = self
            .connection
            .take(Control::UndoLease)
            .and_then(|()| if keep { Ok(()) } else { self.connection.take(Control::CloseLease) });
        undone.map_err(|error| self.group_failed(&error))?;
        self.lease = Lease::default();
        Ok(())
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        keyvalue::get(&self.connection, bucket, key).map_err(|error| self.failed(&error))
    }

    pub(super) fn list(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        keyvalue::list(&self.connection, bucket, after, limit).map_err(|error| self.failed(&error))
    }

    pub(super) fn set(
        &mut self,
        bucket: &str,
        key: &str,
        value: Option<&[u8]>,
        footprint: &mut Footprint,
    ) -> Result<(), Error> {
        let changed = self.write(bucket, key, value, footprint);
        self.lease.has_written();
        changed.map_err(|error| self.group_failed(&error))
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Looks anew what the schema has, which was just changed.
    pub(super) fn schema_changed(&mut self) -> Result<(), Error> {
        let found = rollback::is_in_schema(&self.connection);
        self.look_at_programs = found.map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// A dead letter of this source was cut short, or not even that.
    pub(super) fn tell_cut(&self, subscription: &str, source: &str, is_kept: bool) {
        // Each once, however many there are: a metric counts them.
        if !self.core.dead_cut.count(is_kept) {
            return;
        }
        let (service, limit) = (&self.core.service, self.options().max_dead_bytes);
        if is_kept {
            tracing::warn!(
                service,
                subscription,
                source,
                "the dead letters of one source have {limit} bytes: more of it are kept without \
                 their data; retry or drop some (`hotdock events dead`)"
            );
        } else {
            tracing::error!(
                service,
                subscription,
                source,
                "the dead letters of one source have twice {limit} bytes: more of it are not \
                 kept, but logged and counted; drop some (`hotdock events dead`)"
            );
        }
    }

    pub(super) fn options(&self) -> &StoreOptions {
        &self.core.options
    }

    pub(super) fn begin_group(&mut self) -> Result<(), Error> {
        self.core.check()?;
        if self.group.is_none() {
            self.check_log()?;
            self.connection.take(Control::BeginToWrite).map_err(|error| self.failed(&error))?;
            // Of the one before, which is undone.
            self.hooks.take_lost();
            self.group = Some(Group::new(self.core.committed() + 1));
        }
        Ok(())
    }

    fn member_done(&mut self, footprint: &Footprint, member: Member) {
        if let Some(group) = &mut self.group {
            self.history.record(footprint, group.sequence);
            group.first_done.get_or_insert_with(Instant::now);
            group.members.push(member);
        }
    }

    /// A write of the host's failed: its group is given up as a whole, since SQLite may have
    /// undone more than the one statement. Its members are done again.
    pub(super) fn group_failed(&mut self, error: &rusqlite::Error) -> Error {
        let error = self.failed(error);
        self.break_group(&error);
        error
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        self.core.failed(error)
    }
}
