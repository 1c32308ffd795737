//! What `rusqlite` has no name for, asked of SQLite itself.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// Whether a foreign key is violated that is judged at the transaction's end
/// (`DEFERRABLE INITIALLY DEFERRED`): COMMIT would be refused. SQLite counts them as it goes,
/// so asking costs nothing (`SQLITE_DBSTATUS_DEFERRED_FKS`).
#[expect(unsafe_code, reason = "a counter that SQLite tells of its own connection only")]
pub(super) fn violates_deferred_keys(connection: &Connection) -> bool {
    let (mut violated, mut highest): (c_int, c_int) = (0, 0);
    // SAFETY: the handle is open for as long as `connection` is, nobody else uses it
    // meanwhile (a `Connection` is not `Sync`), and both places outlive the call.
    let code = unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut violated,
            &raw mut highest,
            0,
        )
    };
    // It fails for an unknown question only; COMMIT would tell then.
    code == ffi::SQLITE_OK && violated != 0
}

/// What [`Connection::last_insert_rowid`] says until the next row is inserted.
#[expect(unsafe_code, reason = "a number that SQLite keeps for its own connection")]
pub(super) fn set_last_insert_rowid(connection: &Connection, rowid: i64) {
    // SAFETY: as above.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), rowid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deferred_foreign_key_is_known_to_be_violated_before_the_commit() {
        let connection = Connection::open_in_memory().expect("opened");
        let run = |sql| connection.execute_batch(sql).expect(sql);
        run("PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED);
             BEGIN; SAVEPOINT s; INSERT INTO c VALUES (1)");
        assert!(violates_deferred_keys(&connection));
        run("INSERT INTO p VALUES (1)");
        assert!(!violates_deferred_keys(&connection));
        run("DELETE FROM p");
        assert!(violates_deferred_keys(&connection));
        run("ROLLBACK TO s");
        assert!(!violates_deferred_keys(&connection));
    }
}
