//! How the host's transactions begin and end. Each invocation does so, and a statement that is
//! looked up by its text costs more than what it does, so that these few are kept prepared.

use std::cell::OnceCell;
use std::ffi::{CStr, c_int};
use std::ops::Deref;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

/// A step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Begin,
    BeginToWrite,
    Commit,
    Rollback,
    /// A lease holder's savepoint.
    OpenLease,
    UndoLease,
    CloseLease,
    /// A statement's own savepoint.
    OpenStatement,
    UndoStatement,
    CloseStatement,
}

const STEPS: usize = 10;

/// A connection with what begins and ends its transactions.
pub(super) struct Controlled {
    /// Made when they are first run. Before the connection, which is not closed while there
    /// are any.
    prepared: [OnceCell<Prepared>; STEPS],
    connection: Connection,
}

struct Prepared(NonNull<ffi::sqlite3_stmt>);

impl Control {
    fn text(self) -> &'static CStr {
        match self {
            Self::Begin => c"BEGIN",
            Self::BeginToWrite => c"BEGIN IMMEDIATE",
            Self::Commit => c"COMMIT",
            Self::Rollback => c"ROLLBACK",
            Self::OpenLease => c"SAVEPOINT lease",
            Self::UndoLease => c"ROLLBACK TO lease",
            Self::CloseLease => c"RELEASE lease",
            Self::OpenStatement => c"SAVEPOINT statement",
            Self::UndoStatement => c"ROLLBACK TO statement",
            Self::CloseStatement => c"RELEASE statement",
        }
    }
}

impl Controlled {
    pub(super) fn new(connection: Connection) -> Self {
        Self { prepared: Default::default(), connection }
    }

    /// Takes this step.
    pub(super) fn take(&self, step: Control) -> rusqlite::Result<()> {
        let place = &self.prepared[step as usize];
        let prepared = match place.get() {
            Some(prepared) => prepared,
            None => {
                let prepared = Prepared::new(&self.connection, step.text())?;
                place.get_or_init(|| prepared)
            }
        };
        prepared.run(&self.connection)
    }
}

impl Deref for Controlled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

// SAFETY: it is used and dropped by `Controlled` alone, and so on the thread that has the
// statement's connection.
#[expect(unsafe_code, reason = "a pointer that goes from thread to thread with its connection")]
unsafe impl Send for Prepared {}

#[expect(unsafe_code, reason = "rusqlite's statements cannot be kept beside their connection")]
impl Prepared {
    fn new(connection: &Connection, text: &CStr) -> rusqlite::Result<Self> {
        let mut statement = ptr::null_mut();
        // SAFETY: the handle is open for as long as `connection` is, which nobody else uses
        // meanwhile (it is not `Sync`); the text ends with a NUL; the place outlives the call.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                connection.handle(),
                text.as_ptr(),
                -1,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut statement,
                ptr::null_mut(),
            )
        };
        NonNull::new(statement).map(Self).ok_or_else(|| failure(connection, code))
    }

    /// Runs it on the connection that it is of.
    fn run(&self, connection: &Connection) -> rusqlite::Result<()> {
        // SAFETY: the statement is there until this is dropped, and nobody else uses its
        // connection meanwhile.
        let code = unsafe { ffi::sqlite3_step(self.0.as_ptr()) };
        let result = match code {
            ffi::SQLITE_DONE => Ok(()),
            code => Err(failure(connection, code)),
        };
        // SAFETY: as above. It says again what the step came to.
        unsafe { ffi::sqlite3_reset(self.0.as_ptr()) };
        result
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: as above, and it is not used again. SQLite closes no connection before.
        #[expect(unsafe_code, reason = "a statement is given back by a C call")]
        unsafe {
            ffi::sqlite3_finalize(self.0.as_ptr())
        };
    }
}

/// What the connection says of its last call.
fn failure(connection: &Connection, code: c_int) -> rusqlite::Error {
    // SAFETY: the handle is open, and the message stays until its next call.
    #[expect(unsafe_code, reason = "a message that SQLite keeps for its own connection")]
    let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(connection.handle())) };
    let message = message.to_string_lossy().into_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_again_and_again_and_one_that_fails_says_why() {
        let connection = Connection::open_in_memory().expect("opened");
        connection.execute_batch("CREATE TABLE t (x)").expect("a table");
        let connection = Controlled::new(connection);
        let take = |step| connection.take(step).expect("a step");
        let count = || -> i64 {
            connection.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).expect("a count")
        };
        for kept in 0..3 {
            take(Control::BeginToWrite);
            take(Control::OpenLease);
            connection.execute("INSERT INTO t VALUES (1)", ()).expect("a row");
            take(Control::OpenStatement);
            connection.execute("INSERT INTO t VALUES (2)", ()).expect("a row");
            take(Control::UndoStatement);
            take(Control::CloseStatement);
            take(Control::CloseLease);
            // A schema that was changed has them prepared anew.
            connection.execute_batch(&format!("CREATE TABLE t{kept} (x)")).expect("a table");
            take(Control::Commit);
            take(Control::Begin);
            assert_eq!(count(), kept + 1);
            let error = connection.take(Control::Begin).expect_err("it has begun");
            assert!(error.to_string().contains("within a transaction"), "{error}");
            take(Control::Rollback);
        }
        let error = connection.take(Control::UndoLease).expect_err("there is none");
        assert!(error.to_string().contains("no such savepoint"), "{error}");
        assert!(connection.is_autocommit());
    }
}
