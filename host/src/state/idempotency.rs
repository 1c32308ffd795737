//! Answers kept under idempotency keys, in the `_idempotency` table, and the
//! keys whose request still runs.
//!
//! A key is *claimed* before its request runs, and free again when the claim is
//! dropped: with the run, or, once its answer is on its way to the disk, when
//! the commit's outcome is known. So whoever gets a claim finds either the
//! committed answer or nothing that could still become one.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::options::StoreOptions;
use super::store::{Core, Job, Store};
use crate::digest::Digest;

/// Expired answers that are taken out at once; the next batch lets others pass.
const EXPIRE_BATCH: usize = 500;

/// How long the store waits at least from one look for expired answers to the next.
const EXPIRE_PAUSE: Duration = Duration::from_secs(60);

/// The part of all that may be kept that is for clients, and not for other services.
const CLIENTS_PART: u64 = 4;

/// An answer's bytes, as an expression.
const SIZE: &str = "length(headers) + coalesce(length(trailers), 0) + length(body)";

/// When the table is to be looked through where nothing is kept: never.
const NOTHING_KEPT: u64 = u64::MAX;

/// An answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Digest of the request that it answers.
    pub request: Digest,
    /// HTTP status.
    pub status: u16,
    /// Header lines, each ended by CR LF.
    pub headers: Bytes,
    /// The whole body.
    pub body: Bytes,
    /// Trailer lines, if it has trailers.
    pub trailers: Option<Bytes>,
}

impl KeptAnswer {
    /// Its bytes, as [`SIZE`] counts them.
    pub(super) fn size(&self) -> usize {
        self.headers.len() + self.body.len() + self.trailers.as_ref().map_or(0, Bytes::len)
    }
}

/// The right to run a key's request, which one has at a time. Clones are the
/// same claim; the key is free when the last is dropped.
#[derive(Clone)]
pub struct KeyClaim(Arc<Claimed>);

struct Claimed {
    scope: Digest,
    claimant: Claimant,
    core: Arc<Core>,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// A client's of the service.
    Client,
    /// Another service's, by a call or a request: the last quarter is for clients.
    Service,
}

impl Claimant {
    /// How much of what may be kept it may find taken.
    const fn share(self, most: u64) -> u64 {
        match self {
            Self::Client => most,
            Self::Service => most - most / CLIENTS_PART,
        }
    }
}

/// An answer that its transaction is to commit, and its claim.
pub(super) struct Keeping {
    pub(super) claim: KeyClaim,
    pub(super) answer: KeptAnswer,
}

/// What a store knows of its keys besides the table.
#[derive(Default)]
pub(super) struct Keys {
    claimed: Mutex<HashSet<Digest>>,
    /// When the table is to be looked through, in ms since 1970. The default is
    /// at once: what an earlier process left is not known.
    expire_at: AtomicU64,
    /// When the newest answer was made, at the latest; 0 where that is not known.
    newest: AtomicU64,
}

impl Store {
    /// Claims an idempotency key, known by a digest of all that keeps it apart from
    /// others. `None` while another has it.
    #[must_use]
    pub fn claim_key(&self, scope: Digest, claimant: Claimant) -> Option<KeyClaim> {
        let core = &self.core;
        let is_free = core.keys.lock().insert(scope);
        is_free.then(|| KeyClaim(Arc::new(Claimed { scope, claimant, core: Arc::clone(core) })))
    }

    /// Takes out what is kept under expired idempotency keys, when there may be some.
    pub fn expire_keys(self: &Arc<Self>) {
        if self.core.keys.is_expiry_due(&self.core.options, self.is_open()) {
            // Where too much waits it is done later.
            _ = self.push(Job::Expire);
        }
    }
}

impl Keys {
    /// Whether expired answers are to be taken out now; says so once.
    fn is_expiry_due(&self, options: &StoreOptions, file_is_open: bool) -> bool {
        let (now, at) = (options.clock.steady_ms(), self.expire_at.load(Ordering::Acquire));
        // No answer expires later: the clock was set back.
        let latest = now.saturating_add(ttl_ms(options)).saturating_add(pause_ms(options));
        let is_set_back = at > latest && at != NOTHING_KEPT;
        // A file that nobody needs is not opened to find out what is in it.
        if (now < at && !is_set_back) || (at == 0 && !file_is_open) {
            return false;
        }
        self.expire_at.store(now + pause_ms(options), Ordering::Release);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyClaim {
    /// What it claims.
    #[must_use]
    pub fn scope(&self) -> &Digest {
        &self.0.scope
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.core.keys.lock().remove(&self.scope);
    }
}

impl fmt::Debug for KeyClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyClaim").field(&self.0.scope).finish()
    }
}

/// The answer kept under `scope`, unless it is too old.
pub(super) fn find(
    connection: &Connection,
    scope: &Digest,
    options: &StoreOptions,
) -> rusqlite::Result<Option<KeptAnswer>> {
    connection
        .prepare_cached(
            "SELECT request, status, headers, trailers, body FROM _idempotency
             WHERE scope = ?1 AND created_at > ?2",
        )?
        .query_row((scope.as_bytes(), oldest_ms(options)), kept)
        .optional()
}

/// Whether one more answer may be kept beside those of all claims, for whoever has this one.
pub(super) fn has_room(connection: &Connection, claim: &KeyClaim) -> rusqlite::Result<bool> {
    let Claimed { claimant, core, .. } = &*claim.0;
    let (options, oldest) = (&core.options, oldest_ms(&core.options));
    let keys = claimant.share(options.max_idempotency_keys as u64);
    let claimed = core.keys.lock().len() as u64;
    // Among the oldest may be some that are expired and still there.
    if span(connection, 0)? + claimed > keys && span(connection, oldest)? + claimed > keys {
        return Ok(false);
    }
    let has_bytes = bytes(connection)? < claimant.share(options.max_idempotency_bytes);
    Ok(has_bytes || is_any_expired(connection, oldest)?)
}

/// Keeps the answer. Returns false, and does nothing, where the key has one.
pub(super) fn keep(
    connection: &Connection,
    keeping: &Keeping,
    core: &Core,
) -> rusqlite::Result<bool> {
    let Keeping { claim, answer } = keeping;
    let (scope, oldest) = (claim.scope().as_bytes(), oldest_ms(&core.options));
    let now = core.options.clock.steady_ms();
    take_back(connection, core, now)?;
    let options = &core.options;
    if span(connection, 0)? >= options.max_idempotency_keys as u64
        || bytes(connection)? >= options.max_idempotency_bytes
    {
        delete_oldest(connection, oldest)?;
    }
    let expired = "DELETE FROM _idempotency WHERE scope = ?1 AND created_at <= ?2";
    delete(connection, expired, (scope, oldest))?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO _idempotency
             (created_at, scope, request, status, headers, trailers, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (scope) DO NOTHING",
        )?
        .execute((
            now,
            scope,
            answer.request.as_bytes(),
            answer.status,
            &*answer.headers,
            answer.trailers.as_deref(),
            &*answer.body,
        ))?;
    let expires = now.saturating_add(ttl_ms(options));
    core.keys.expire_at.fetch_min(expires, Ordering::AcqRel);
    if inserted > 0 {
        change_bytes(connection, answer.size() as u64, 0)?;
    }
    Ok(inserted > 0)
}

/// Answers that were made in the future, by a clock that was ahead and was set back, are
/// taken as made now: they would be kept for as long as it was ahead, and those behind
/// them, too. Done before each is made, so that they are the newest.
fn take_back(connection: &Connection, core: &Core, now: u64) -> rusqlite::Result<()> {
    // Always so but for the first of a process, and after the clock was set back.
    if (1..=now).contains(&core.keys.newest.fetch_max(now, Ordering::AcqRel)) {
        return Ok(());
    }
    let taken = connection
        .prepare_cached(
            "UPDATE _idempotency SET created_at = ?1 WHERE id > coalesce((
                 SELECT id FROM _idempotency WHERE created_at <= ?1 ORDER BY id DESC LIMIT 1
             ), 0)",
        )?
        .execute([now])?;
    core.keys.newest.store(now, Ordering::Release);
    note_taken_back(core, taken);
    Ok(())
}

/// Whether the newest answer, or the oldest, is from the future.
pub(super) fn has_future(connection: &Connection, core: &Core) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT max(created_at) > ?1 FROM _idempotency WHERE id IN (
                 (SELECT min(id) FROM _idempotency), (SELECT max(id) FROM _idempotency)
             )",
        )?
        .query_row([core.options.clock.steady_ms()], |row| row.get::<_, Option<bool>>(0))
        .map(Option::unwrap_or_default)
}

/// Takes all of them as made now.
pub(super) fn take_all_back(connection: &Connection, core: &Core) -> rusqlite::Result<()> {
    let all = "UPDATE _idempotency SET created_at = ?1 WHERE created_at > ?1";
    let taken = connection.prepare_cached(all)?.execute([core.options.clock.steady_ms()])?;
    note_taken_back(core, taken);
    Ok(())
}

fn note_taken_back(core: &Core, taken: usize) {
    if taken > 0 {
        let service = &core.service;
        tracing::warn!(
            service,
            taken,
            "idempotency keys were from the future: they count from now"
        );
    }
}

/// Whether the oldest answer is expired; notes when to look again if not.
pub(super) fn is_oldest_expired(connection: &Connection, core: &Core) -> rusqlite::Result<bool> {
    let now = core.options.clock.steady_ms();
    let oldest: Option<u64> = connection
        .prepare_cached("SELECT created_at FROM _idempotency ORDER BY id LIMIT 1")?
        .query_row((), |row| row.get(0))
        .optional()?;
    if oldest.is_some_and(|oldest| oldest <= oldest_ms(&core.options)) {
        return Ok(true);
    }
    let next = oldest.map_or(NOTHING_KEPT, |oldest| {
        let expires = oldest.saturating_add(ttl_ms(&core.options));
        expires.max(now + pause_ms(&core.options))
    });
    core.keys.expire_at.store(next, Ordering::Release);
    Ok(false)
}

/// Takes a batch of the oldest out, as far as they are expired.
pub(super) fn expire(connection: &Connection, core: &Core) -> rusqlite::Result<()> {
    delete_oldest(connection, oldest_ms(&core.options))
}

/// Deletes those of the oldest that were made at `until` or before.
fn delete_oldest(connection: &Connection, until: u64) -> rusqlite::Result<()> {
    let oldest = "DELETE FROM _idempotency WHERE created_at <= ?1
                  AND id IN (SELECT id FROM _idempotency ORDER BY id LIMIT ?2)";
    delete(connection, oldest, (until, EXPIRE_BATCH))
}

/// Deletes answers, which no longer count.
fn delete(connection: &Connection, which: &str, by: impl Params) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(&format!("{which} RETURNING {SIZE}"))?;
    let mut bytes = 0;
    for size in delete.query_map(by, |row| row.get::<_, u64>(0))? {
        bytes += size?;
    }
    if bytes > 0 {
        change_bytes(connection, 0, bytes)?;
    }
    Ok(())
}

/// What all answers have together.
fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT bytes FROM _idempotency_bytes")?
        .query_row((), |row| row.get(0))
}

fn change_bytes(connection: &Connection, more: u64, less: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE _idempotency_bytes SET bytes = bytes + ?1 - ?2")?
        .execute([more, less])
        .map(drop)
}

/// Whether an answer that is still there was made at `oldest` or before.
fn is_any_expired(connection: &Connection, oldest: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT created_at <= ?1 FROM _idempotency ORDER BY id LIMIT 1")?
        .query_row([oldest], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

/// How many there are, at the most, from the first that was made after `after`:
/// counted by their numbers, since only the oldest are ever taken out.
fn span(connection: &Connection, after: u64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT max(id) FROM _idempotency) - (
                 SELECT id FROM _idempotency WHERE created_at > ?1 ORDER BY id LIMIT 1
             ) + 1, 0)",
        )?
        .query_row([after], |row| row.get(0))
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptAnswer> {
    let bytes =
        |column| Ok::<_, rusqlite::Error>(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?));
    let trailers: Option<Vec<u8>> = row.get(3)?;
    Ok(KeptAnswer {
        request: Digest::from(row.get::<_, [u8; 32]>(0)?),
        status: row.get(1)?,
        headers: bytes(2)?,
        trailers: trailers.map(Bytes::from),
        body: bytes(4)?,
    })
}

/// What was made then or before is expired.
fn oldest_ms(options: &StoreOptions) -> u64 {
    options.clock.steady_ms().saturating_sub(ttl_ms(options))
}

fn ttl_ms(options: &StoreOptions) -> u64 {
    millis(options.idempotency_ttl)
}

fn pause_ms(options: &StoreOptions) -> u64 {
    millis(options.idempotency_ttl.min(EXPIRE_PAUSE)).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
