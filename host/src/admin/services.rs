//! `GET /v1/services`, `GET` and `DELETE /v1/services/{name}`,
//! `GET /v1/services/{name}/versions`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::Admin;
use super::condition::{asked, tagged_for};
use super::problem::{Denied, Problem, Unchanged};
use crate::deploy::{KeptVersion, ServiceStatus, Status};

/// How a service is undeployed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Undeployment {
    /// `true`: also where other services import from it. Their calls fail from then on.
    #[serde(default)]
    force: bool,
}

/// Every service with its versions, and what was refused of the plugin folder.
#[utoipa::path(get, path = "/v1/services", operation_id = "list_services",
    tag = "services", responses(
    (status = 200, description = "As of now", body = Status), Denied,
))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Status> {
    Json(admin.operator.status())
}

/// One service. Its entity tag is its revision, a dot, and a digest of all that is said of it:
/// it changes with every figure. `If-Match` of a change takes it, or the revision alone, and
/// looks at the revision only; here it names all of the entity tag.
#[utoipa::path(get, path = "/v1/services/{name}", operation_id = "get_service",
    tag = "services",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
        ("If-None-Match" = Option<String>, Header, description = "Unless its entity tag is this"),
    ),
    responses(
        (status = 200, description = "As of now", body = ServiceStatus,
         headers(("ETag" = String, description = "What `If-Match` takes: `\"REVISION.DIGEST\"`"))),
        (status = 304, description = "All that is said of it is as the client has it"),
        (status = 400, description = "What it names is no entity tag", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is none of the name", body = Problem,
         content_type = "application/problem+json"),
        (status = 412, description = "Its entity tag is none that `If-Match` names",
         body = Problem, content_type = "application/problem+json"),
        Denied,
))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    tagged_for(&headers, admin.operator.service(&name).await?)
}

/// Ends a service. Its store, its versions and its plugin file are kept; the file
/// acts again when it changes. Only a deployment brings the service back. Refused where other
/// services import from it, unless by `force`.
#[utoipa::path(delete, path = "/v1/services/{name}", operation_id = "undeploy",
    tag = "services",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        Undeployment,
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
    ),
    responses((status = 204, description = "It is gone"), Unchanged))]
pub(super) async fn undeploy(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(Undeployment { force }): Query<Undeployment>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    admin.operator.undeploy(&name, force, asked(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The versions that are kept, the newest first; also of a service that is not
/// deployed any more.
#[utoipa::path(get, path = "/v1/services/{name}/versions", operation_id = "list_versions",
    tag = "services",
    params(("name" = String, Path, description = "The service", example = "cart")),
    responses(
        (status = 200, description = "As of now", body = Vec<KeptVersion>),
        (status = 404, description = "There are none", body = Problem,
         content_type = "application/problem+json"),
        Denied,
))]
pub(super) async fn versions(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<Vec<KeptVersion>>, Problem> {
    Ok(Json(admin.operator.versions(&name).await?))
}
