//! Exit codes that scripts can use; `hotdock --help` lists them.

use crate::config::TokenError;

/// It was done.
pub(super) const DONE: u8 = 0;
/// It could not be asked for, or it failed.
pub(super) const FAILED: u8 = 1;
/// A flag or an argument says what it can't; where only its form is wrong, clap says so itself.
pub(super) const USAGE: u8 = 2;
/// What was asked for is refused, or a file cannot be used, and it is said why.
pub(super) const REFUSED: u8 = 3;
/// The version was rolled back before it had all the traffic: by itself, or by an
/// operator's word.
pub(super) const ROLLED_BACK: u8 = 4;
/// Someone else was first, something else is under way, or there is nothing to do it to.
pub(super) const CONFLICT: u8 = 5;
/// There is no such service, version, deployment, subscription or dead letter.
pub(super) const NOT_FOUND: u8 = 6;
/// The token is missing, wrong, or none.
pub(super) const DENIED: u8 = 7;
/// The newer component breaks what relies on the older one.
pub(super) const BREAKING: u8 = 8;

/// Ctrl-C came, as shells say it; what the host does goes on.
pub(super) const INTERRUPTED: u8 = 130;

/// A file of the user's that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// A text that is meant as a token and is none, and why; in a file or in the environment.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoToken(pub(super) String);

/// Flags whose values are wrong, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(pub(super) String);

/// The code of an error that has one of its own.
pub(super) fn of(error: &anyhow::Error) -> Option<u8> {
    if error.is::<WrongUsage>() {
        Some(USAGE)
    } else if error.is::<NoToken>() {
        Some(DENIED)
    } else if error.is::<Unusable>() {
        Some(REFUSED)
    } else {
        None
    }
}

/// What there is of a token where one is looked for. A text that is none is as wrong in a file as
/// in the environment; a file that cannot be read is a file that cannot be used.
pub(super) fn of_token(error: &TokenError) -> anyhow::Error {
    match error {
        TokenError::Unread { .. } => Unusable(error.to_string()).into(),
        TokenError::Invalid { .. } => NoToken(error.to_string()).into(),
    }
}

/// What `--help` says of them.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  it could not be asked for, or it failed
  2  wrong usage
  3  refused, for the reasons that are printed, or a file cannot be used
  4  the version was rolled back before it had all the traffic, by itself or by someone (deploy)
  5  someone else was first, something else is under way, or there is nothing to do it to
  6  there is no such service, version, deployment, subscription or dead letter
  7  the admin token is missing or wrong
  8  the newer component breaks what relies on the older one (diff)
  130  Ctrl-C came while a deployment was followed, which goes on (deploy)";

/// What `deploy --help` says of them.
pub(super) const DEPLOY_HELP: &str = "\
Exit codes:
  0    it has the traffic; of a canary its first share, with --wait all of it, or it is held
  1    the host or the registry could not be asked, or failed
  2    wrong usage, also an oci:// reference that is none
  3    refused, for the reasons that are printed, or a file cannot be used
  4    rolled back before it had all the traffic, by itself or by someone
  5    superseded by another deployment, by an operator's word, or one is under way
  7    the admin token is missing or wrong
  130  Ctrl-C came while it was followed; the deployment goes on";

/// What `--help` says of them for commands that share traffic.
pub(super) const STEER_HELP: &str = "\
Exit codes:
  0  done: the traffic is as it is printed
  1  the host could not be asked, or failed
  2  wrong usage
  3  refused, for the reasons that are printed, or a file cannot be used
  5  someone else was first, something else is under way, or there is nothing to do it to
  6  there is no such service or version
  7  the admin token is missing or wrong";
