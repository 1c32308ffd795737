//! `GET /v1/openapi.json`, and what it says besides the endpoints.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use utoipa::openapi::OpenApi as Api;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::Denied;

/// The document, before the endpoints are added.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hotdock",
        description = "Deploys services, steers their traffic, and shows what becomes of events.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact()
    ),
    modifiers(&Token),
    security(("token" = []), ()),
    tags(
        (name = "services", description = "What is deployed"),
        (name = "traffic", description = "Which version gets which requests"),
        (name = "deployments", description = "How versions come in"),
        (name = "events", description = "Events, the subscriptions to them, and what was given up"),
        (name = "health", description = "For probes, scrapes, and who wants to know why"),
    )
)]
pub(super) struct Document;

/// This document (OpenAPI 3.1).
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "get_openapi",
    tag = "health", responses(
    (status = 200, description = "The API, for programs", body = Object,
     content_type = "application/json"),
    Denied,
))]
pub(super) async fn get(Extension(api): Extension<Arc<Api>>) -> Response {
    Json(&*api).into_response()
}

/// The token that the operator set, if one was set.
struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut Api) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}
