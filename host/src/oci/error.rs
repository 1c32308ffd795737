//! Why a component could not be pulled or pushed, in words.

use oci_client::errors::{OciDistributionError as Cause, OciErrorCode};

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
        let reason = match kind(cause) {
            Kind::Unauthorized if credentials.are_none() => format!(
                "{registry} lets nobody in without credentials: `docker login {registry}`, or give \
                 a token with --registry-token-file"
            ),
            Kind::Unauthorized => format!("{registry} does not accept the credentials"),
            Kind::Denied => format!("{registry} does not let these credentials do that"),
            Kind::NotFound => format!(
                "{registry} has no such repository, tag or digest, or does not show it to you"
            ),
            Kind::Unreachable => format!("{registry} cannot be reached: {}", chain(cause)),
            Kind::Other => chain(cause),
        };
        Self::new(reference, reason)
    }
}

enum Kind {
    Unauthorized,
    Denied,
    NotFound,
    Unreachable,
    Other,
}

fn kind(cause: &Cause) -> Kind {
    match cause {
        Cause::AuthenticationFailure(_)
        | Cause::UnauthorizedError { .. }
        | Cause::ServerError { code: 401, .. } => Kind::Unauthorized,
        Cause::ServerError { code: 403, .. } => Kind::Denied,
        Cause::ServerError { code: 404, .. } | Cause::ImageManifestNotFoundError(_) => {
            Kind::NotFound
        }
        Cause::RegistryError { envelope, .. } => {
            match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::Unauthorized) => Kind::Unauthorized,
                Some(OciErrorCode::Denied) => Kind::Denied,
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound,
                ) => Kind::NotFound,
                _ => Kind::Other,
            }
        }
        Cause::RequestError(error) if error.is_connect() || error.is_timeout() => Kind::Unreachable,
        _ => Kind::Other,
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
