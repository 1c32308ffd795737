//! What a store's writer is at, for those who wait for it.

use std::fmt;

/// What the writer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    /// It has no turn, or begins it.
    Beginning,
    /// Buffered writes of invocations.
    Writes,
    /// An invocation that holds it.
    Lease,
    /// A deployment's migrations.
    Migrations,
    /// The host's own work.
    Host,
    /// A group's commit.
    Commit,
}

impl From<u8> for Doing {
    fn from(number: u8) -> Self {
        [Self::Writes, Self::Lease, Self::Migrations, Self::Host, Self::Commit]
            .into_iter()
            .find(|doing| *doing as u8 == number)
            .unwrap_or(Self::Beginning)
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beginning => "opens or closes the file",
            Self::Writes => "applies what invocations wrote",
            Self::Lease => "is held by an invocation",
            Self::Migrations => "runs a deployment's migrations",
            Self::Host => "does the host's own work",
            Self::Commit => "commits",
        })
    }
}
