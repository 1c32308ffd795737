//! Operating events.
//!
//! - `GET /v1/events`: the events on the bus
//! - `GET /v1/subscriptions`, `GET /v1/subscriptions/{service}/{name}`: how they stand
//! - `GET …/held`: the events that wait in one
//! - `POST …/skip`, `POST …/retry`: what becomes of one of those
//! - `POST …/resume`: ends its pause
//! - `POST …/replay`: delivers events again
//! - `DELETE /v1/subscriptions/{service}/{name}`: drops one that is gone, ends a replay
//! - `GET /v1/dead-letters`, `GET /v1/dead-letters/{service}/{number}`
//! - `POST …/retry`: delivers one again
//! - `DELETE /v1/dead-letters/{service}/{number}`: drops one
//!
//! Lists are paged: `next` is the `after` of the next page. A subscription's name
//! is one segment of a path, percent-encoded.

#![expect(unused_qualifications, reason = "utoipa's macro writes the parameters' types in full")]

mod change;
mod dead_letters;
mod log;
mod subscriptions;

use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::problem::{LATE_AGAIN_SECONDS, Problem};
use crate::bus::BusError;
use crate::events::{MAX_PAGE, OperateError};
use crate::state;

/// How many entries a page has where nothing else is said.
const DEFAULT_PAGE: usize = 100;

/// The endpoints.
pub(super) fn router() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(log::list))
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::get, change::remove))
        .routes(routes!(subscriptions::held))
        .routes(routes!(change::skip))
        .routes(routes!(change::retry))
        .routes(routes!(change::resume))
        .routes(routes!(change::replay))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::get, dead_letters::remove))
        .routes(routes!(dead_letters::retry))
}

/// Has the log say what an operator did to a subscription, or to an event of it.
fn log_change(
    service: &str,
    subscription: Option<&str>,
    position: Option<u64>,
    who: Option<String>,
    what: &str,
) {
    let who = who.unwrap_or_else(|| "an operator".to_owned());
    tracing::info!(service, subscription, position, who, "{what}");
}

/// How many entries a page has.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        Some(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::bad_request(format!("limit: must be 1 to {MAX_PAGE}; found: {limit}")))
        }
        None => Ok(DEFAULT_PAGE),
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        let status = match &error {
            OperateError::NoSubscription(_)
            | OperateError::NoService(_)
            | OperateError::NoDeadLetter(_) => StatusCode::NOT_FOUND,
            OperateError::Refused(..)
            | OperateError::Gone(_)
            | OperateError::Starting(_)
            | OperateError::Undeployed(_)
            | OperateError::Unwanted(_)
            | OperateError::NoWebhook(_)
            | OperateError::DataGone(_)
            | OperateError::Waiting(..)
            | OperateError::Wanted(_)
            | OperateError::NoPosition { .. }
            | OperateError::NothingSince(_) => StatusCode::CONFLICT,
            // That it is full was said once, when it was found to be so.
            OperateError::NoRoom => {
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return problem.until(LATE_AGAIN_SECONDS);
            }
            OperateError::Late(_)
            | OperateError::Store(_, state::Error::Unavailable(_) | state::Error::LogFull(_))
            | OperateError::Bus(
                BusError::Full(_) | BusError::ShareFull(_) | BusError::Unavailable(_),
            ) => {
                tracing::warn!(%error, "a request of the operator's was not done");
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return problem.until(LATE_AGAIN_SECONDS);
            }
            OperateError::Store(..) | OperateError::Bus(_) => {
                tracing::error!(%error, "a request of the operator's failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}
