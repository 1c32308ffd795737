//! `PUT /v1/services/{name}/traffic`, `POST …/promote`, `POST …/rollback`: what
//! the operator decides about the traffic, at once; a canary under way ends.
//! `POST …/drain`: how long what has no traffic any more may go on.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Admin;
use super::condition::{asked, tagged, tagged_rollback};
use super::problem::{Problem, Unchanged};
use crate::deploy::{RolledBack, ServiceStatus};
use crate::service::TrafficPlan;

/// How long a drain may be put off.
const MAX_WITHIN_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes of a reason that are kept.
const MAX_REASON_BYTES: usize = 4096;

/// Which version gets the traffic.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Promotion {
    /// The version's number; by default the one on trial.
    #[schema(minimum = 1)]
    version: Option<u64>,
}

/// Which version gets the traffic back, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The version's number; by default, where nothing without traffic is on its way, the one
    /// that served before: in a canary the one that it is compared with.
    #[schema(minimum = 1)]
    version: Option<u64>,
    /// Kept with the version that loses the traffic.
    #[schema(max_length = 4096)]
    reason: Option<String>,
}

/// Which versions are to end, and when.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// The version's number; by default all that drain.
    #[schema(minimum = 1)]
    version: Option<u64>,
    /// How long what is on them may go on, in milliseconds (0).
    #[serde(default)]
    #[schema(maximum = 86_400_000)]
    within_ms: u64,
}

/// Shares a service's traffic among its kept versions.
#[utoipa::path(put, path = "/v1/services/{name}/traffic", operation_id = "share_traffic",
    tag = "traffic",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = TrafficPlan,
    responses((status = 200, description = "As it is now", body = ServiceStatus), Unchanged))]
pub(super) async fn put(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(plan): Json<TrafficPlan>,
) -> Result<Response, Problem> {
    let changed = admin.operator.set_traffic(&name, plan, asked(&headers)?);
    Ok(tagged(Box::pin(changed).await?))
}

/// Gives a version all the traffic: by default the one on trial. Nothing changes where it
/// has all of it.
#[utoipa::path(post, path = "/v1/services/{name}/promote", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = Option<Promotion>,
    responses((status = 200, description = "As it is now", body = ServiceStatus), Unchanged))]
pub(super) async fn promote(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Option<Promotion>>>,
) -> Result<Response, Problem> {
    let Promotion { version } = body.and_then(|Json(body)| body).unwrap_or_default();
    let changed = admin.operator.promote(&name, version, asked(&headers)?);
    Ok(tagged(Box::pin(changed).await?))
}

/// Calls off what is on its way and has no traffic yet, or else gives an earlier version all the
/// traffic: by default the one that served before. Where a version is named or one is on trial, it
/// does both.
#[utoipa::path(post, path = "/v1/services/{name}/rollback", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = Option<Rollback>,
    responses((status = 200, description = "As it is now, and what was done", body = RolledBack),
        Unchanged))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Option<Rollback>>>,
) -> Result<Response, Problem> {
    let Rollback { version, reason } = body.and_then(|Json(body)| body).unwrap_or_default();
    if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        let detail = format!("reason is longer than {MAX_REASON_BYTES} bytes");
        return Err(Problem::bad_request(detail));
    }
    let rolled_back = admin.operator.rollback(&name, version, reason, asked(&headers)?);
    Ok(tagged_rollback(Box::pin(rolled_back).await?))
}

/// Ends what is still on versions that have no traffic any more, at once or after a
/// while, instead of after `[deploy] drain`. Answers before they are gone, and the same
/// where nothing drains.
#[utoipa::path(post, path = "/v1/services/{name}/drain", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = Option<Drain>,
    responses((status = 200, description = "As it is now", body = ServiceStatus), Unchanged))]
pub(super) async fn drain(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Option<Drain>>>,
) -> Result<Response, Problem> {
    let Drain { version, within_ms } = body.and_then(|Json(body)| body).unwrap_or_default();
    if within_ms > MAX_WITHIN_MS {
        let detail = format!("within_ms: must be 0 to {MAX_WITHIN_MS}; found: {within_ms}");
        return Err(Problem::bad_request(detail));
    }
    let within = Duration::from_millis(within_ms);
    Ok(tagged(admin.operator.drain(&name, version, within, asked(&headers)?).await?))
}
