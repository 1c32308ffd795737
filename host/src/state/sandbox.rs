//! What a guest's SQL may do.
//!
//! The authorizer is asked when a statement is prepared. Guests' statements are
//! prepared under a prefix of their own (see `sql`), so that they never share a
//! prepared statement with the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// PRAGMAs that only tell about a guest's own tables.
const PRAGMAS: &[&str] = &[
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "data_version",
    "encoding",
];

/// Virtual-machine steps between two looks at the clock.
const PROGRESS_STEPS: i32 = 1_000;

/// A connection's switch between the host's statements and a guest's, and the
/// clock that ends the latter.
#[derive(Clone, Debug)]
pub(super) struct Sandbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    guest: AtomicBool,
    /// Microseconds after `start` at which the running statement ends; 0: never.
    deadline: AtomicU64,
    start: Instant,
}

/// While it lives, statements are a guest's.
pub(super) struct Entered<'a>(&'a Sandbox);

impl Sandbox {
    /// Puts the connection under guard.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let shared = Arc::new(Shared {
            guest: AtomicBool::new(false),
            deadline: AtomicU64::new(0),
            start: Instant::now(),
        });
        let switch = Arc::clone(&shared);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if !switch.guest.load(Ordering::Relaxed) || allowed(&context) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))?;
        let clock = Arc::clone(&shared);
        connection.progress_handler(
            PROGRESS_STEPS,
            Some(move || {
                let deadline = clock.deadline.load(Ordering::Relaxed);
                deadline != 0 && clock.now() >= deadline
            }),
        )?;
        Ok(Self { shared })
    }

    /// From here on statements are a guest's, until `deadline`.
    pub(super) fn enter(&self, deadline: Instant) -> Entered<'_> {
        let entered = Entered(self);
        entered.until(deadline);
        self.shared.guest.store(true, Ordering::Relaxed);
        entered
    }
}

impl Entered<'_> {
    /// It ends then and not before.
    pub(super) fn until(&self, deadline: Instant) {
        let Shared { start, deadline: place, .. } = &*self.0.shared;
        let left = deadline.saturating_duration_since(*start);
        place.store(micros(left).max(1), Ordering::Relaxed);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.shared.guest.store(false, Ordering::Relaxed);
        self.0.shared.deadline.store(0, Ordering::Relaxed);
    }
}

impl Shared {
    fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Everything inside the guest's own tables; nothing of the host's, of other
/// files, or that outlives the invocation without being data.
fn allowed(context: &AuthContext<'_>) -> bool {
    use AuthAction as A;
    match context.action {
        A::Select | A::Recursive => true,
        A::Read { table_name, .. }
        | A::Insert { table_name }
        | A::Delete { table_name }
        | A::Update { table_name, .. }
        | A::CreateTable { table_name }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::Analyze { table_name }
        | A::CreateIndex { table_name, .. }
        | A::DropIndex { table_name, .. }
        | A::CreateTrigger { table_name, .. }
        | A::DropTrigger { table_name, .. } => own(table_name),
        A::CreateView { view_name } | A::DropView { view_name } => own(view_name),
        A::Reindex { .. } => true,
        A::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        A::Pragma { pragma_name, pragma_value } => {
            PRAGMAS.iter().any(|known| known.eq_ignore_ascii_case(pragma_name))
                && pragma_value.is_none_or(own)
        }
        // Transaction control is the host's; temporary objects would be seen by
        // the next invocation; virtual tables can reach anywhere.
        _ => false,
    }
}

/// The host's names begin with `_`. SQLite's own schema tables may be read (and
/// are written by CREATE and DROP; defensive mode refuses it to anyone else).
fn own(table: &str) -> bool {
    !table.starts_with('_')
}
