//! `PUT /v1/services/{name}/traffic`, `POST …/promote`, `POST …/rollback`: what
//! the operator decides about the traffic, at once. A canary under way ends.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Admin;
use super::condition::{condition, tagged};
use super::problem::{Problem, Unchanged};
use crate::deploy::ServiceStatus;
use crate::service::TrafficPlan;

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
    /// The version's number; by default the one before.
    #[schema(minimum = 1)]
    version: Option<u64>,
    /// Kept with the version that loses the traffic.
    #[schema(max_length = 4096)]
    reason: Option<String>,
}

/// Shares a service's traffic among its kept versions.
#[utoipa::path(put, path = "/v1/services/{name}/traffic", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service"),
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
    let changed = admin.operator.set_traffic(&name, plan, condition(&headers)?);
    Ok(tagged(Box::pin(changed).await?))
}

/// Gives a version all the traffic: by default the one on trial.
#[utoipa::path(post, path = "/v1/services/{name}/promote", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = Option<Promotion>,
    responses((status = 200, description = "As it is now", body = ServiceStatus), Unchanged))]
pub(super) async fn promote(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Promotion>>,
) -> Result<Response, Problem> {
    let Promotion { version } = body.map(|Json(body)| body).unwrap_or_default();
    let changed = admin.operator.promote(&name, version, condition(&headers)?);
    Ok(tagged(Box::pin(changed).await?))
}

/// Gives an earlier version all the traffic: by default the one that served
/// before.
#[utoipa::path(post, path = "/v1/services/{name}/rollback", tag = "traffic",
    params(
        ("name" = String, Path, description = "The service"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    request_body = Option<Rollback>,
    responses((status = 200, description = "As it is now", body = ServiceStatus), Unchanged))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Rollback>>,
) -> Result<Response, Problem> {
    let Rollback { version, reason } = body.map(|Json(body)| body).unwrap_or_default();
    if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        let detail = format!("reason is longer than {MAX_REASON_BYTES} bytes");
        return Err(Problem::bad_request(detail));
    }
    let changed = admin.operator.rollback(&name, version, reason, condition(&headers)?);
    Ok(tagged(Box::pin(changed).await?))
}
