//! A turn of the writer: from the first job that finds it free until nothing
//! waits. It has no thread of its own between turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::doing::Doing;
use super::error::{Error, Rerun};
use super::history::Footprint;
use super::migration;
use super::snapshot::{Reads, Snapshot, Writes};
use super::sql::Deadlines;
use super::store::{Job, LeaseJob, MigrateJob, Store};
use super::threads;
use super::transaction::{Home, Leased, Transaction};
use super::writer::{Durable, Writer};

/// Starts a turn on a thread where it may block.
pub(super) fn start(store: Arc<Store>) {
    let broken = Broken { store: Some(Arc::clone(&store)) };
    threads::WRITING.spawn(move || {
        let runtime = store.runtime.clone();
        let _entered = runtime.enter();
        run(&store);
        broken.did_not_break();
    });
}

/// Lets the store go on after a panic, or where there is no thread for the turn.
struct Broken {
    store: Option<Arc<Store>>,
}

impl Broken {
    fn did_not_break(mut self) {
        self.store = None;
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if let Some(store) = &self.store {
            store.turn_broke();
        }
    }
}

fn run(store: &Arc<Store>) {
    let mut writer = store.idle_writer();
    loop {
        // A group is what waits now; it never waits for more.
        let jobs = store.next_jobs(&mut writer);
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            store.note_doing(job.doing());
            let opened = match writer.take() {
                Some(writer) => Ok(writer),
                None => Writer::open(&store.core).inspect(|_| store.note_file()),
            };
            writer = match opened {
                Ok(writer) => guarded(store, writer, |writer| handle(store, writer, job)),
                Err(error) => {
                    refuse(job, &error);
                    None
                }
            };
        }
        if let Some(open) = writer.take() {
            store.note_doing(Doing::Commit);
            writer = guarded(store, open, |mut writer| {
                writer.commit_group();
                // Whoever read may have ended while it was not to be: no other moment is sure to
                // come, as those who would read or write next can all wait for this one.
                if store.core.log.is_long() && store.is_unread() {
                    writer.begin_log_anew();
                }
                Some(writer)
            });
        }
    }
}

/// Does something with the writer. Where it panics the writer is dropped, which undoes what
/// was open and answers everyone in it; the next job opens another.
fn guarded(
    store: &Arc<Store>,
    writer: Box<Writer>,
    work: impl FnOnce(Box<Writer>) -> Option<Box<Writer>>,
) -> Option<Box<Writer>> {
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = work(writer)?;
        writer.redo();
        Some(writer)
    }));
    done.unwrap_or_else(|_| {
        let service = &store.core.service;
        tracing::error!(service, "the store's writer panicked; what was not committed is undone");
        None
    })
}

/// Does one job. Returns the writer, unless a lease holder kept it.
fn handle(store: &Arc<Store>, mut writer: Box<Writer>, job: Job) -> Option<Box<Writer>> {
    match job {
        Job::Commit { reads, writes, claim, reply } => {
            // One whose client left, or that was given up, before it was validated is not
            // committed.
            if !reply.is_closed() && claim.take() {
                let committed = commit(&mut writer, &reads, writes);
                if committed.is_err() {
                    claim.release();
                }
                let _ = reply.send(committed);
            }
            Some(writer)
        }
        // One that nobody waits for any more is not begun.
        Job::Migrate(job) if job.reply.is_closed() => Some(writer),
        Job::Migrate(MigrateJob { migrations, apply, reply, gone }) => {
            writer.commit_group();
            let _ = reply.send(migration::run(&mut writer, &migrations, apply, &gone));
            Some(writer)
        }
        Job::Lease(job) => lease(store, writer, job),
        Job::Host(work) => {
            work(Ok(&mut writer));
            Some(writer)
        }
        Job::Tidy => {
            if let Err(error) = writer.tidy() {
                tracing::debug!(%error, "the outbox is cut later");
            }
            Some(writer)
        }
        Job::Expire => {
            match writer.expire_keys() {
                // Those who came in the meantime are first.
                Ok(true) => _ = store.push(Job::Expire),
                Ok(false) => {}
                Err(error) => {
                    let service = &store.core.service;
                    tracing::warn!(service, %error, "idempotency keys could not be expired");
                }
            }
            Some(writer)
        }
    }
}

fn commit(writer: &mut Writer, reads: &Reads, writes: Box<Writes>) -> Result<Durable, Error> {
    if !writer.still_holds(reads) {
        return Err(Error::Rerun(Rerun::Leased));
    }
    writer.apply_member(writes)
}

/// Runs a lease holder to its end, its deadline, or its client's departure.
fn lease(store: &Arc<Store>, mut writer: Box<Writer>, job: LeaseJob) -> Option<Box<Writer>> {
    let LeaseJob { alone, before, trial, run, mut ended, gone } = job;
    if ended.is_closed() {
        return Some(writer);
    }
    let patience = store.core.options.group_patience;
    // Members that are done would wait for it: not for one that must come
    // first, and not where there is little time left. Those that could not be done again
    // without anyone's noticing are not to be undone with it.
    let alone = alone || writer.is_wary();
    let apart = alone || writer.has_host_members();
    if writer.first_done().is_some_and(|first| apart || first.elapsed() > patience / 2) {
        writer.commit_group();
    }
    let (reads, mut writes) = match before {
        Some(before) => {
            let Snapshot { reads, writes, .. } = *before;
            (reads, writes)
        }
        None => (Reads::default(), Writes::default()),
    };
    let publications = std::mem::take(&mut writes.publications);
    if !writer.still_holds(&reads) {
        let _ = ended.send(Err(Error::Rerun(Rerun::Leased)));
        return Some(writer);
    }
    let mut footprint = Footprint::default();
    if let Err(error) = writer.begin_lease(&writes, &mut footprint) {
        let _ = ended.send(Err(error));
        return Some(writer);
    }
    if !trial.is_empty()
        && let Err(error) = migration::put_on_trial(&mut writer, &trial, &gone)
    {
        let _ = ended.send(Err(error));
        return Some(writer);
    }
    let limit =
        if trial.is_empty() { store.core.options.lease_timeout } else { migration::TRIAL_TIMEOUT };
    let timeout = Instant::now() + limit;
    let (deadline, late) = match writer.first_done() {
        // A statement that writes may go on all the same: those who are done rather wait
        // for it than go with it.
        Some(first) => (first + patience, Error::Rerun(Rerun::Alone)),
        None => (timeout, Error::LeaseExpired),
    };
    let deadlines = Deadlines { reading: deadline, writing: timeout };
    let home = Home::new(Mutex::new(None));
    let leased = Leased::new(writer, &home, footprint, publications, deadlines, late.clone(), gone);
    let running = run(Transaction::leased(store, leased));
    // One that panics ends itself: its transaction is undone as any other's that is dropped.
    let held = catch_unwind(AssertUnwindSafe(|| hold(running, &mut ended, deadline)));
    let panicked = || Some(Err(Error::Unavailable("its run panicked".to_owned())));
    let result = held.unwrap_or_else(|_| panicked()).unwrap_or(Err(late));
    let _ = ended.send(result);
    let mut writer = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(writer) = writer.as_mut().filter(|_| alone) {
        if !trial.is_empty() {
            migration::end_trial(writer);
        }
        // Whatever its commit comes to is its own doing.
        writer.redo();
        writer.commit_group();
    }
    if writer.is_none() {
        tracing::error!(
            service = store.core.service,
            "a lease outlived its run; its writer is given up"
        );
    }
    writer
}

/// Polls the holder here, on the writer's thread. `None` when it took too long.
fn hold(
    running: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: &mut oneshot::Sender<Result<(), Error>>,
    deadline: Instant,
) -> Option<Result<(), Error>> {
    Handle::current().block_on(async {
        // Whatever ends it, the future is dropped here, and its transaction with it.
        tokio::select! {
            biased;
            () = running => Some(Ok(())),
            () = ended.closed() => Some(Ok(())),
            () = tokio::time::sleep_until(deadline.into()) => None,
        }
    })
}

fn refuse(job: Job, error: &Error) {
    match job {
        Job::Commit { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Lease(job) => drop(job.ended.send(Err(error.clone()))),
        Job::Host(work) => work(Err(error)),
        Job::Tidy => {}
        Job::Expire => tracing::debug!(%error, "idempotency keys are expired later"),
        Job::Migrate(job) => drop(job.reply.send(Err(error.clone().into()))),
    }
}
