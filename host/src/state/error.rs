//! What can go wrong with a transaction.

use rusqlite::ErrorCode;

/// Why an operation or a transaction did not go through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The invocation has to run again.
    #[error("another transaction committed first; it has to run again ({0:?})")]
    Rerun(Rerun),
    /// The statement writes: the transaction has to take the writer lease first.
    #[error("the statement needs the writer lease")]
    NeedsLease,
    /// It held the writer, alone, for longer than it may.
    #[error("the writer lease expired")]
    LeaseExpired,
    /// A guest's statement was refused; the transaction goes on.
    #[error("{}", .0.message)]
    Sql(SqlError),
    /// A limit was met; the transaction goes on.
    #[error("{0}")]
    Limit(String),
    /// As many idempotency keys have an answer as may, or as many bytes, and none is expired.
    #[error("the store keeps as many answers under idempotency keys as it may")]
    TooManyKeys,
    /// The event was finished already: the transaction must have no effect.
    #[error("the event was finished already")]
    Consumed,
    /// The bus does not take the store's events as fast as they come.
    #[error("as many events wait for the bus as may")]
    OutboxFull,
    /// The store's write-ahead log has as many bytes as it may.
    #[error(
        "its write-ahead log has more than {0} bytes, and can be begun anew when a transaction \
         that has been reading for long has ended ([limits] deadline)"
    )]
    LogFull(u64),
    /// The store has as many pages as it may, or the disk is full.
    #[error("the store is full")]
    Full,
    /// A foreign key is violated that is judged at the transaction's end.
    #[error("the transaction ends with a deferred foreign key that is violated")]
    ForeignKey,
    /// A statement failed in a way that SQLite undoes the whole transaction for.
    #[error("the transaction was undone at a statement: {0}")]
    GivenUp(String),
    /// It was given up before the writer took it: nothing was written.
    #[error("the transaction was given up")]
    Withdrawn,
    /// Whether it was committed is not known: the file failed while it was.
    #[error("whether it was committed is not known: {0}")]
    Uncertain(String),
    /// The store could not be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// How the invocation has to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// With the writer lease, in a group with others.
    Leased,
    /// With the writer lease, as the first of its group, because others would
    /// wait too long for it.
    Alone,
}

/// A refused statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// Which case of `hotdock:sql`'s error it is.
    pub kind: SqlErrorKind,
    /// For people; SQLite's own words where it was SQLite.
    pub message: String,
}

/// The cases of `hotdock:sql`'s error that are about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// It cannot be parsed or names what does not exist.
    Syntax,
    /// A constraint was violated.
    Constraint,
    /// The parameters don't fit, or there was more than one statement.
    Parameters,
    /// It is not for guests.
    Denied,
    /// It returned or took too much.
    Limit,
}

impl Error {
    pub(super) fn sql(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self::Sql(SqlError { kind, message: message.into() })
    }

    /// A failure of the host's own statements.
    pub(super) fn of_host(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Unavailable(error.to_string()),
        }
    }

    /// A failure of a COMMIT: what it judges is the members'. Where it is the file's, what
    /// was written may be found there when the host starts again.
    pub(super) fn of_commit(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            _ if is_io_failure(error) => Self::Uncertain(error.to_string()),
            Some(ErrorCode::ConstraintViolation) => Self::GivenUp(error.to_string()),
            _ => Self::of_host(error),
        }
    }

    /// Why a transaction is no longer there, after a guest's statement that came to this.
    pub(super) fn given_up(statement: Option<Self>) -> Self {
        match statement {
            Some(Self::Sql(error)) => Self::GivenUp(error.message),
            Some(error) => error,
            None => Self::GivenUp("it ended the transaction".to_owned()),
        }
    }

    /// A failure of a guest's statement.
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
    pub(super) fn of_guest(error: rusqlite::Error) -> Self {
        let message = error.to_string();
        match &error {
            rusqlite::Error::InvalidParameterCount(given, taken) => {
                let message = format!("the statement takes {taken} parameters, {given} were given");
                return Self::sql(SqlErrorKind::Parameters, message);
            }
            rusqlite::Error::MultipleStatement => {
                return Self::sql(SqlErrorKind::Parameters, "one statement per call");
            }
            rusqlite::Error::SqlInputError { msg, .. } if !msg.contains("not authorized") => {
                return Self::sql(kind_of_input_error(msg), msg.clone());
            }
            _ => {}
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                Self::sql(SqlErrorKind::Constraint, message)
            }
            Some(ErrorCode::AuthorizationForStatementDenied) => {
                Self::sql(SqlErrorKind::Denied, message)
            }
            Some(ErrorCode::TooBig | ErrorCode::ParameterOutOfRange | ErrorCode::OutOfMemory) => {
                Self::sql(SqlErrorKind::Limit, message)
            }
            Some(ErrorCode::OperationInterrupted) => {
                Self::sql(SqlErrorKind::Limit, "the statement ran for longer than it may")
            }
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::Unknown) | None => Self::sql(
                if message.contains("not authorized") || message.contains("prohibited") {
                    SqlErrorKind::Denied
                } else {
                    kind_of_input_error(&message)
                },
                message,
            ),
            Some(code) if is_the_files(code) => Self::Unavailable(message),
            // Whatever else SQLite says of a statement is the statement's.
            Some(_) => Self::sql(kind_of_input_error(&message), message),
        }
    }
}

/// Whether it is the file, or who else has it open, and not the statement.
fn is_the_files(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
    )
}

/// What SQLite says of a statement that it does not prepare. For its limits it has no code
/// of their own.
fn kind_of_input_error(message: &str) -> SqlErrorKind {
    const OF_LIMITS: [&str; 10] = [
        "Recursion limit",
        "must be between",
        "too many ",
        "too large",
        "too deep",
        "too complex",
        "too big",
        "too long",
        "stack overflow",
        "tables in a join",
    ];
    if OF_LIMITS.iter().any(|words| message.contains(words)) {
        SqlErrorKind::Limit
    } else if message.contains("within a transaction") {
        SqlErrorKind::Denied
    } else {
        SqlErrorKind::Syntax
    }
}

/// Whether the file itself failed: nothing that this process believes of it is
/// certain any more (a failed sync may have dropped pages that look written).
pub(super) fn is_io_failure(error: &rusqlite::Error) -> bool {
    // Memory that was refused in the middle of I/O is no fault of the file's.
    let extended = error.sqlite_error().map(|error| error.extended_code);
    if extended == Some(rusqlite::ffi::SQLITE_IOERR_NOMEM) {
        return false;
    }
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
