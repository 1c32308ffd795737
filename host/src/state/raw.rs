//! What `rusqlite` has no name for, asked of SQLite itself.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, ffi};

/// What SQLite asks about: one thing that a statement names, or does.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// `SQLITE_READ` and its like.
    pub(super) action: c_int,
    /// Which names these are, the [table of actions](https://sqlite.org/c3ref/c_alter_table.html)
    /// tells. What is no UTF-8 in them is replaced: a text that a statement computes is named, too,
    /// where it is the argument of a pragma's table.
    pub(super) names: (Option<Cow<'a, str>>, Option<Cow<'a, str>>),
    /// Where the thing is: `main` or `temp`, where it is in a database.
    pub(super) database: Option<Cow<'a, str>>,
}

/// What SQLite is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Verdict {
    Allow = ffi::SQLITE_OK,
    /// A column is read as NULL, and a table is emptied row by row.
    Ignore = ffi::SQLITE_IGNORE,
    Deny = ffi::SQLITE_DENY,
}

/// Has `decide` asked of all that the connection's statements name while they are prepared.
/// (`rusqlite`'s own panics where a name is no UTF-8.)
#[expect(unsafe_code, reason = "SQLite passes names and what it was given by pointers")]
pub(super) fn set_authorizer<D>(connection: &Connection, decide: D) -> rusqlite::Result<()>
where
    D: Fn(&Asked<'_>) -> Verdict + Send + 'static,
{
    unsafe extern "C" fn ask<D: Fn(&Asked<'_>) -> Verdict>(
        decide: *mut c_void,
        action: c_int,
        first: *const c_char,
        second: *const c_char,
        database: *const c_char,
        _inner: *const c_char,
    ) -> c_int {
        // SAFETY: SQLite passes a text that outlives the call, or none.
        let name = |text: *const c_char| unsafe {
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy())
        };
        let names = (name(first), name(second));
        let asked = Asked { action, names, database: name(database) };
        // SAFETY: it is what was given below, which the connection keeps for as long as it is.
        let decide = unsafe { &*decide.cast_const().cast::<D>() };
        catch_unwind(AssertUnwindSafe(|| decide(&asked))).unwrap_or(Verdict::Deny) as c_int
    }

    // SAFETY: nothing else is kept under this name, so what it replaces nobody has; from the next
    // call on SQLite has the pointer for as long as it keeps what is behind it.
    let code = unsafe {
        let decide = connection.set_clientdata(c"hotdock_authorizer", Some(decide))?;
        ffi::sqlite3_set_authorizer(connection.handle(), Some(ask::<D>), decide.cast())
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

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
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_named_in_bytes_that_are_no_text_is_asked_about_and_a_panic_denies() {
        let connection = Connection::open_in_memory().expect("opened");
        let (named, names) = channel();
        set_authorizer(&connection, move |asked| {
            let (Some(name), value) = &asked.names else { return Verdict::Allow };
            assert_ne!(name, "panics");
            named.send((name.to_string(), value.as_deref().map(str::to_owned))).expect("sent");
            if name == "denied" { Verdict::Deny } else { Verdict::Allow }
        })
        .expect("set");
        let query = "SELECT count(*) FROM pragma_table_info(CAST(x'61ff' AS TEXT))";
        let columns = connection.query_one(query, (), |row| row.get(0));
        assert_eq!(columns, Ok(0));
        let named: Vec<_> = names.try_iter().collect();
        assert!(
            named.contains(&("table_info".to_owned(), Some("a\u{fffd}".to_owned()))),
            "{named:?}"
        );
        for name in ["panics", "denied"] {
            let made = connection.execute_batch(&format!("CREATE TABLE {name} (a)"));
            let code = made.expect_err("refused").sqlite_error_code();
            assert_eq!(code, Some(rusqlite::ErrorCode::AuthorizationForStatementDenied), "{name}");
        }
        connection.execute_batch("CREATE TABLE t (a)").expect("it goes on");
    }

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
