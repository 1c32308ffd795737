//! `GET /healthz`, `GET /readyz`, `GET /metrics`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, VARY};
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::exposition::{OPENMETRICS, PROMETHEUS, prometheus, wants_prometheus};
use super::problem::{Denied, Problem};

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses(
    (status = 200, description = "It lives", body = String, content_type = "text/plain"),
    (status = 400, description = "`If-Match` or `If-None-Match` is malformed", body = Problem,
     content_type = "application/problem+json"),
    (status = 412, description = "It has no entity tag that `If-Match` could name", body = Problem,
     content_type = "application/problem+json"),
))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// What the plugin folder had at the start is dealt with, and the host is not
/// stopping.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "It is ready", body = String, content_type = "text/plain"),
    (status = 400, description = "`If-Match` or `If-None-Match` is malformed", body = Problem,
     content_type = "application/problem+json"),
    (status = 412, description = "It has no entity tag that `If-Match` could name", body = Problem,
     content_type = "application/problem+json"),
    (status = 503, description = "Not yet, or not any more", body = Problem,
     content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let unavailable =
        |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    if admin.stopping.is_cancelled() {
        unavailable("the host is stopping")
    } else if admin.status.is_ready() {
        "ready\n".into_response()
    } else {
        unavailable("the plugin folder is being looked through")
    }
}

/// Counters and gauges of every service (OpenMetrics text, or that of Prometheus where `Accept`
/// prefers it).
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "As of now", body = String,
     content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    Denied,
))]
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.metrics) {
        Ok(()) if wants_prometheus(&headers) => {
            ([(CONTENT_TYPE, PROMETHEUS), (VARY, "accept")], prometheus(&text)).into_response()
        }
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS), (VARY, "accept")], text).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}
