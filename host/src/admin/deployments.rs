//! `GET /v1/deployments`, `GET /v1/deployments/{id}`.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::Admin;
use super::problem::{Denied, Problem};
use crate::deploy::Deployment;

/// Which deployments.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this service.
    service: Option<String>,
}

/// The deployments since the host's start, the newest first; those that are over
/// are forgotten when there are hundreds.
#[utoipa::path(get, path = "/v1/deployments", operation_id = "list_deployments",
    tag = "deployments", params(Wanted), responses(
    (status = 200, description = "As of now", body = Vec<Deployment>),
    (status = 400, description = "The query is wrong", body = Problem,
     content_type = "application/problem+json"),
    Denied,
))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(Wanted { service }): Query<Wanted>,
) -> Json<Vec<Deployment>> {
    let all = admin.operator.deployments().into_iter();
    let is_wanted = |each: &Deployment| service.as_ref().is_none_or(|name| *name == each.service);
    Json(all.filter(is_wanted).collect())
}

/// One deployment, with its steps and when they began.
#[utoipa::path(get, path = "/v1/deployments/{id}", operation_id = "get_deployment",
    tag = "deployments",
    params(("id" = String, Path, description = "The deployment")),
    responses(
        (status = 200, description = "As of now", body = Deployment),
        (status = 404, description = "There is none, or it is long over", body = Problem,
         content_type = "application/problem+json"),
        Denied,
))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Deployment>, Problem> {
    Ok(Json(admin.operator.deployment(&id)?))
}
