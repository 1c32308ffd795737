//! What a guest's SQL may do, and how long and with how much memory.
//!
//! While a guest's statement is prepared, SQLite asks for each thing that it names
//! ([`authorizer`], by the [`lists`]), and for memory, which it gets until the statement has to
//! end; while it runs, SQLite looks here often enough that it
//! ends in time ([`watch`], with values that are small enough by [`cost`]); what it made of
//! the schema is looked at afterwards ([`rules`]). Its memory is counted ([`super::memory`]).
//!
//! Guests' statements are prepared under a prefix of their own (see `sql`), so that they
//! never share a prepared statement with the host.

mod authorizer;
mod cost;
mod functions;
mod lists;
mod rules;
mod text;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, Statement};

use self::authorizer::Preparing;
pub(super) use self::cost::{MAX_VALUE_BYTES, Plan};
pub(super) use self::rules::{Broken, MAX_OBJECTS};
use self::watch::{Ended, Watch};
pub(super) use self::watch::{Stopper, Watched};
use super::error::{Error, SqlErrorKind};
use super::memory::{self, Account, Charged, Over as _, Refused};
use super::raw::{self, Verdict};

/// Page cache in KiB while a statement of the writer's sorts: SQLite sorts so much in one step,
/// which nothing ends.
const SORTING_CACHE_KIB: i64 = 1 << 10;

/// Plans that are kept.
const MAX_PLANS: usize = 1_000;

/// What a store's connections share of their sandboxes.
#[derive(Clone)]
pub(super) struct Common(Arc<Kept>);

struct Kept {
    account: &'static Account,
    /// By a digest of the statement's text.
    plans: Mutex<HashMap<u64, Plan, RandomState>>,
    /// Counts the schemas that were committed.
    schema: AtomicU64,
    changes_schema: AtomicBool,
    digest: RandomState,
}

/// A connection's switch between the host's statements and a guest's, and what bounds the
/// latter.
pub(super) struct Sandbox {
    shared: Arc<Shared>,
    common: Common,
    /// Bytes of the largest value that the host handles.
    host_value_bytes: i32,
    stopper: Stopper,
    /// The host's part of the schema.
    hosts: OnceLock<String>,
}

#[derive(Default)]
struct Shared {
    guest: AtomicBool,
    preparing: Mutex<Preparing>,
    watch: Arc<Watch>,
}

/// How a guest's statements are bounded.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) watched: Watched,
    /// Bytes that all of the store's SQL may have together.
    pub(super) memory: usize,
    /// Whether they are a migration's.
    pub(super) migrates: bool,
}

/// Bytes that a statement that reads still gets where memory is used up, until it is ended:
/// what a few operations of SQLite take, with values as large as they may be.
const OVERDRAFT: usize = 16 << 20;

/// While it lives, statements are a guest's.
pub(super) struct Entered<'a> {
    sandbox: &'a Sandbox,
    connection: &'a Connection,
    charged: Charged,
    value_bytes: usize,
    memory: usize,
    migrates: bool,
    /// The page cache's size, where it is to be set again.
    cache: Option<i64>,
}

impl Common {
    /// Of the store at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self(Arc::new(Kept {
            account: Account::of(path),
            plans: Mutex::default(),
            schema: AtomicU64::new(0),
            changes_schema: AtomicBool::new(false),
            digest: RandomState::default(),
        }))
    }

    /// What the store's SQL has of memory.
    pub(super) fn account(&self) -> &'static Account {
        self.0.account
    }

    /// The number of the schema that is committed.
    pub(super) fn schema(&self) -> u64 {
        self.0.schema.load(Ordering::Acquire)
    }

    /// Notes a commit: with it a schema that was changed is the store's.
    pub(super) fn schema_committed(&self) {
        if self.0.changes_schema.swap(false, Ordering::AcqRel) {
            self.0.schema.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn digest(&self, statement: &str) -> u64 {
        self.0.digest.hash_one(statement)
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<u64, Plan, RandomState>> {
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Puts the connection under guard.
    pub(super) fn install(connection: &mut Connection, common: &Common) -> rusqlite::Result<Self> {
        let modules = modules(connection)?;
        functions::install(connection)?;
        let shared = Arc::new(Shared::default());
        let switch = Arc::clone(&shared);
        raw::set_authorizer(connection, move |asked| {
            if !switch.guest.load(Ordering::Relaxed) {
                Verdict::Allow
            } else if switch.watch.is_over() {
                Verdict::Deny
            } else {
                switch.preparing().decide(asked, modules)
            }
        })?;
        shared.watch.install(connection)?;
        Ok(Self {
            stopper: shared.watch.stopper(connection),
            shared,
            common: common.clone(),
            host_value_bytes: connection.limit(Limit::SQLITE_LIMIT_LENGTH)?,
            hosts: OnceLock::new(),
        })
    }

    /// From here on statements are a guest's.
    pub(super) fn enter<'a>(&'a self, connection: &'a Connection, bounds: Bounds) -> Entered<'a> {
        let Bounds { watched, memory, migrates } = bounds;
        *self.shared.preparing() = Preparing { migrates, ..Preparing::default() };
        let ends_early = watched.ends_early;
        self.shared.watch.begin(watched);
        self.shared.guest.store(true, Ordering::Relaxed);
        // SQLite undoes the whole transaction where memory is refused in the middle of a
        // statement, also of one that reads; one that reads can be ended without that.
        let overdraft = if ends_early { OVERDRAFT } else { 0 };
        let charged = self.common.account().charge(memory, overdraft);
        let mut entered = Entered {
            sandbox: self,
            connection,
            charged,
            value_bytes: 0,
            memory,
            migrates,
            cache: None,
        };
        entered.take_values(MAX_VALUE_BYTES);
        entered
    }

    /// Ends the statement that runs, from another thread.
    pub(super) fn stopper(&self) -> &Stopper {
        &self.stopper
    }

    /// What is known of a statement that was prepared before.
    pub(super) fn known_plan(&self, statement: &str) -> Option<Plan> {
        self.common.plans().get(&self.common.digest(statement)).copied()
    }

    /// Looks whether what a guest made of the schema keeps to the rules.
    pub(super) fn check_schema(
        &self,
        connection: &Connection,
        bounds: &Bounds,
    ) -> Result<(), Broken> {
        self.common.plans().clear();
        self.common.0.changes_schema.store(true, Ordering::Release);
        rules::check(self, connection, self.hosts(connection)?, bounds)
    }

    /// Notes what is the host's in the schema, before a guest changes it.
    pub(super) fn hosts(&self, connection: &Connection) -> rusqlite::Result<&str> {
        if let Some(hosts) = self.hosts.get() {
            return Ok(hosts);
        }
        let hosts = rules::hosts_part(connection)?;
        Ok(self.hosts.get_or_init(|| hosts))
    }

    /// Why a guest could not run `statement`, where it names what it may not or where it takes
    /// too much to prepare.
    fn refusal(&self, connection: &Connection, statement: &str, bounds: &Bounds) -> Option<String> {
        let guest = self.enter(connection, bounds.clone());
        guest.begin(statement);
        let preparing = guest.preparing();
        let failed = connection.prepare(statement).err()?;
        drop(preparing);
        match guest.failed(failed) {
            Error::Sql(error)
                if matches!(error.kind, SqlErrorKind::Denied | SqlErrorKind::Limit) =>
            {
                Some(error.message)
            }
            _ => None,
        }
    }
}

impl Entered<'_> {
    /// To be called with the text of each statement before it is prepared.
    pub(super) fn begin(&self, statement: &str) {
        let analyzes = first_word(statement).eq_ignore_ascii_case("ANALYZE");
        *self.sandbox.shared.preparing() =
            Preparing { analyzes, migrates: self.migrates, ..Preparing::default() };
    }

    /// Until it is dropped, a statement is being prepared, and nothing else is done.
    pub(super) fn preparing(&self) -> memory::Preparing {
        memory::preparing(Arc::clone(&self.sandbox.shared.watch) as _)
    }

    /// From here on it writes, and is to end only then.
    pub(super) fn writes_until(&self, deadline: Instant) {
        self.sandbox.shared.watch.writes_until(deadline);
    }

    /// What is known of a statement once it is prepared.
    pub(super) fn plan(
        &self,
        statement: &str,
        prepared: &Statement<'_>,
        known: Option<Plan>,
    ) -> Plan {
        if prepared.is_explain() != 0 {
            return Plan { value_bytes: MAX_VALUE_BYTES, ..Plan::default() };
        }
        let mut plan = known.unwrap_or_else(|| {
            let plan = Plan::of(self.connection, statement, || self.preparing());
            if self.sandbox.shared.watch.ended().is_some() {
                // It is not known, and what was begun ends.
                return plan;
            }
            let common = &self.sandbox.common;
            let mut plans = common.plans();
            if plans.len() >= MAX_PLANS {
                plans.clear();
            }
            plans.insert(common.digest(statement), plan);
            plan
        });
        // By what it named; its operations tell the same of one that was prepared before.
        let preparing = self.sandbox.shared.preparing();
        plan.changes_schema |= preparing.changes_schema;
        plan.drops |= preparing.drops;
        plan
    }

    /// From here on values may have this many bytes.
    pub(super) fn take_values(&mut self, bytes: usize) {
        self.value_bytes = bytes;
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // It fails for a limit that does not exist, and for no other.
        let _ = self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes);
    }

    /// From here on it sorts little in one step.
    pub(super) fn sort_in_steps(&mut self) -> rusqlite::Result<()> {
        let shared = &self.sandbox.shared;
        shared.guest.store(false, Ordering::Relaxed);
        let set = self
            .connection
            .pragma_query_value(None, "cache_size", |row| row.get(0))
            .and_then(|size| self.set_cache(-SORTING_CACHE_KIB).map(|()| size));
        shared.guest.store(true, Ordering::Relaxed);
        self.cache = Some(set?);
        Ok(())
    }

    fn set_cache(&self, size: i64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "cache_size", size)
    }

    /// What a failure of the guest's statement is.
    pub(super) fn failed(&self, error: rusqlite::Error) -> Error {
        let limit = |message: String| Error::sql(SqlErrorKind::Limit, message);
        if let Some(denied) = self.sandbox.shared.preparing().denied.take() {
            return Error::sql(SqlErrorKind::Denied, denied);
        }
        let ended = self.sandbox.shared.watch.ended();
        // Of a function it says so with another code.
        if let (rusqlite::Error::SqlInputError { msg, .. }, Some(ended)) = (&error, ended)
            && msg.starts_with("not authorized")
        {
            return limit(self.why(ended));
        }
        match error.sqlite_error_code() {
            // Also while it was prepared.
            Some(
                ErrorCode::OperationInterrupted
                | ErrorCode::OutOfMemory
                | ErrorCode::AuthorizationForStatementDenied,
            ) if let Some(ended) = ended => limit(self.why(ended)),
            Some(ErrorCode::OperationInterrupted) => limit(self.why(Ended::Deadline)),
            Some(ErrorCode::OutOfMemory) => limit(self.too_much()),
            Some(ErrorCode::SystemIoFailure) if self.charged.refused().is_some() => {
                limit(self.too_much())
            }
            Some(ErrorCode::TooBig) => limit(format!(
                "a value, a row or the text is larger than {} bytes, the most that this \
                 statement takes: the more it does with values, the smaller they have to be",
                self.value_bytes
            )),
            _ => Error::of_guest(error),
        }
    }

    fn why(&self, ended: Ended) -> String {
        match ended {
            Ended::Cpu(budget) => {
                format!("the invocation used its {budget:?} of CPU up ([limits] cpu)")
            }
            Ended::Over => "the invocation is over".to_owned(),
            Ended::Memory => self.too_much(),
            Ended::Deadline => "the statement ran for longer than it may".to_owned(),
        }
    }

    /// Which memory is used up.
    fn too_much(&self) -> String {
        match self.charged.refused() {
            Some(Refused::Account) => {
                // What was prepared earlier may be most of it.
                self.connection.flush_prepared_statement_cache();
                format!("the service's SQL has {} bytes of memory at most", self.memory)
            }
            Some(Refused::Total) => {
                "the SQL of all services has as much memory as it may".to_owned()
            }
            None => {
                "the statement is too long or too deep for a program of 25000 operations".to_owned()
            }
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Sandbox { shared, host_value_bytes, .. } = self.sandbox;
        shared.guest.store(false, Ordering::Relaxed);
        shared.watch.end();
        if let Some(cache) = self.cache {
            // Where it fails the cache stays small.
            let _ = self.set_cache(cache);
        }
        let _ = self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, *host_value_bytes);
    }
}

impl Shared {
    fn preparing(&self) -> MutexGuard<'_, Preparing> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables that are code, the same in each connection.
fn modules(connection: &Connection) -> rusqlite::Result<&'static [String]> {
    static MODULES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(modules) = MODULES.get() {
        return Ok(modules);
    }
    let modules = connection
        .prepare("PRAGMA module_list")?
        .query_map((), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(MODULES.get_or_init(|| modules))
}

/// The first word, after comments and empty statements.
fn first_word(mut statement: &str) -> &str {
    loop {
        statement = statement.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', ';']);
        let comment = if let Some(line) = statement.strip_prefix("--") {
            line.split_once('\n').map(|(_, rest)| rest)
        } else if let Some(block) = statement.strip_prefix("/*") {
            block.split_once("*/").map(|(_, rest)| rest)
        } else {
            break;
        };
        statement = comment.unwrap_or_default();
    }
    let end = statement.find(|character: char| !character.is_ascii_alphabetic());
    &statement[..end.unwrap_or(statement.len())]
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}
