//! Why a component could not be pulled or pushed, in words.

use super::cause::Cause;
use super::{Credentials, Reference};

/// Why it could not be done, with the registry, the repository and the tag or
/// digest that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: {reason}")]
pub struct OciError {
    reference: String,
    reason: String,
}

impl OciError {
    pub(super) fn new(reference: &Reference, reason: impl Into<String>) -> Self {
        Self { reference: reference.to_string(), reason: reason.into() }
    }

    pub(super) fn of(reference: &Reference, credentials: &Credentials, cause: &Cause) -> Self {
        let registry = reference.registry();
        let reason = match cause {
            Cause::Unauthorized if credentials.are_none() => format!(
                "{registry} lets nobody in without credentials: `docker login {registry}`, or give \
                 a token with --registry-token-file"
            ),
            Cause::Unauthorized => format!("{registry} does not accept the credentials"),
            Cause::Denied => format!("{registry} does not let these credentials do that"),
            Cause::NotFound => format!(
                "{registry} has no such repository, tag or digest, or does not show it to you"
            ),
            Cause::Http(error) if error.is_connect() || error.is_timeout() => {
                format!("{registry} cannot be reached: {}", chain(error))
            }
            Cause::Http(error) => format!("{registry}: {}", chain(error)),
            Cause::Said(reason) => format!("{registry}: {reason}"),
        };
        Self::new(reference, reason)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
