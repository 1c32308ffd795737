//! Descriptors: each connection has one, and the system gives a process only so many.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

use super::Side;

/// How long to wait when there are none, at first and at the most.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often the log says at the most that there are none.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How many eighths of all descriptors may be connections', of either listener: services' files
/// need some, too.
const EIGHTHS_OF_PUBLIC: u64 = 5;
const EIGHTHS_OF_ADMIN: u64 = 1;

/// Of all descriptors, so many parts of eight are left for services' files, whatever they take
/// already, before another connection is taken; operators' connections leave fewer.
const EIGHTHS_LEFT_BY_PUBLIC: u64 = 2;
const EIGHTHS_LEFT_BY_ADMIN: u64 = 1;

/// Of all descriptors, the one part of so many that is connections' in any case: where services'
/// files have nearly all, nobody would be served.
const PARTS_OF_FEW: u64 = 16;

/// When a connection takes what services' files may need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve {
    /// The first descriptor of those that are left.
    first: u64,
    /// How many connections there are in any case.
    few: usize,
}

impl Reserve {
    /// Of all that the system allows this process.
    pub(super) fn of(side: Side) -> Self {
        let has = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let left = match side {
            Side::Public => EIGHTHS_LEFT_BY_PUBLIC,
            Side::Admin => EIGHTHS_LEFT_BY_ADMIN,
        };
        let few = usize::try_from(has / PARTS_OF_FEW).unwrap_or(usize::MAX);
        Self { first: has - has / 8 * left, few }
    }

    /// Whether a connection, the last of so many, has a descriptor of those that are left. The
    /// system gives the lowest that is free, so all below are taken.
    pub(super) fn is_touched_by(self, connection: &impl AsFd, connections: usize) -> bool {
        let number = connection.as_fd().as_raw_fd();
        connections > self.few && u64::try_from(number).is_ok_and(|number| number >= self.first)
    }
}

/// How many of a listener's connections there may be, for all that the system allows this
/// process. It is asked for as many as it gives.
pub(super) fn at_most(wanted: usize, side: Side) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // None: there is no limit.
    let Some(has) = (if raised.is_ok() { maximum } else { current }) else { return wanted };
    let (eighths, setting) = match side {
        Side::Public => (EIGHTHS_OF_PUBLIC, "max-connections"),
        Side::Admin => (EIGHTHS_OF_ADMIN, "admin-max-connections"),
    };
    let most = usize::try_from(has / 8 * eighths).unwrap_or(usize::MAX).max(1);
    if most < wanted {
        tracing::warn!(
            descriptors = has,
            connections = most,
            "the system gives this process too few descriptors (ulimit -n) for [http] \
             {setting} = {wanted}: fewer are taken"
        );
    }
    most.min(wanted)
}

/// Descriptors that are kept for when there are no others.
#[derive(Debug)]
pub(super) struct Spares {
    files: Vec<File>,
    wanted: usize,
}

impl Spares {
    pub(super) fn new(wanted: usize) -> Self {
        let mut spares = Self { files: Vec::new(), wanted };
        spares.refill();
        spares
    }

    /// Gives one back to the system. Returns whether there was one.
    pub(super) fn give_up(&mut self) -> bool {
        self.files.pop().is_some()
    }

    /// Takes as many as are missing, if there are any.
    pub(super) fn refill(&mut self) {
        while self.files.len() < self.wanted {
            match File::open("/dev/null") {
                Ok(file) => self.files.push(file),
                Err(_) => return,
            }
        }
    }
}

/// Whether connections can be taken, and how long to wait where they can't.
#[derive(Debug, Default)]
pub(super) struct Supply {
    pause: Option<Duration>,
    /// When the log said so last.
    told: Option<Instant>,
    /// Whether it has yet to say that it is over.
    is_told: bool,
}

impl Supply {
    /// One was taken.
    pub(super) fn goes_on(&mut self, listener: &str) {
        if self.pause.take().is_some() && std::mem::take(&mut self.is_told) {
            tracing::info!(listener, "connections are taken again");
        }
    }

    /// None could be. Logged once, until one is taken again, and not too often. Returns how
    /// long to wait.
    pub(super) fn ran_out(&mut self, listener: &str, error: &io::Error) -> Duration {
        let pause = match self.pause {
            None => {
                if self.told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
                    tracing::warn!(listener, %error, "no connection can be taken for now");
                    self.told = Some(Instant::now());
                    self.is_told = true;
                }
                FIRST_PAUSE
            }
            Some(pause) => (pause * 2).min(LONGEST_PAUSE),
        };
        self.pause = Some(pause);
        pause
    }
}

/// What is said where those that are left are services'.
pub(super) fn too_few() -> io::Error {
    io::Error::other("the descriptors that are left (ulimit -n) are for services' files")
}

/// Whether the system has nothing left to take a connection with; else it is one connection's
/// own error.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| shortages.iter().any(|shortage| shortage.raw_os_error() == code))
}
