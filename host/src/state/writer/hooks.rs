//! The transaction is the host's: SQLite asks here before it commits, and tells here when it
//! rolls back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

/// What the host is about to do with its transaction, and whether SQLite did otherwise.
#[derive(Clone, Default)]
pub(super) struct Hooks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The host is about to end the transaction itself.
    announced: AtomicBool,
    /// It ended, and the host had not announced it.
    lost: AtomicBool,
}

/// While it lives, the transaction may end.
pub(super) struct Announced<'a>(&'a Hooks);

impl Hooks {
    /// Has the connection ask.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let hooks = Self::default();
        let asked = hooks.clone();
        // `true` makes it a rollback. Whatever commits unannounced is a statement that runs
        // after SQLite gave the transaction up, and would stand for itself.
        connection.commit_hook(Some(move || !asked.is_announced()))?;
        let told = hooks.clone();
        connection.rollback_hook(Some(move || {
            if !told.is_announced() {
                told.0.lost.store(true, Ordering::Relaxed);
            }
        }))?;
        Ok(hooks)
    }

    /// Announces the transaction's end.
    pub(super) fn announce(&self) -> Announced<'_> {
        self.0.announced.store(true, Ordering::Relaxed);
        Announced(self)
    }

    /// Whether the transaction ended unannounced since this was asked last.
    pub(super) fn take_lost(&self) -> bool {
        self.0.lost.swap(false, Ordering::Relaxed)
    }

    fn is_announced(&self) -> bool {
        self.0.announced.load(Ordering::Relaxed)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.0.0.announced.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_announced_is_not_committed_and_a_rollback_is_noticed() {
        let mut connection = Connection::open_in_memory().expect("opened");
        connection.execute_batch("CREATE TABLE t (x UNIQUE)").expect("a table");
        let hooks = Hooks::install(&mut connection).expect("installed");
        let run = |sql| connection.execute_batch(sql);
        run("INSERT INTO t VALUES (1)").expect_err("nobody announced its commit");
        assert!(hooks.take_lost());
        {
            let _announced = hooks.announce();
            run("INSERT INTO t VALUES (1)").expect("announced");
            run("BEGIN; ROLLBACK").expect("announced");
        }
        assert!(!hooks.take_lost());
        run("BEGIN").expect("begun");
        run("INSERT OR ROLLBACK INTO t VALUES (1)").expect_err("it is there");
        assert!(hooks.take_lost());
        assert!(!hooks.take_lost(), "it is told once");
        run("INSERT INTO t VALUES (2)").expect_err("by itself now");
        let rows: i64 =
            connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).expect("a count");
        assert_eq!(rows, 1);
    }
}
