//! The operator's listener.
//!
//! - `GET /healthz`: the process lives
//! - `GET /readyz`: what the plugin folder had at the start is dealt with, and
//!   the host is not stopping
//! - `GET /metrics`: counters and gauges of every service (OpenMetrics text)
//! - `POST /events`: takes events from outside, of any type (CloudEvents)
//! - `GET /v1/services`: every service with its versions, digests and states
//! - `GET /v1/services/{name}`: one of them

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::registry::Registry as Metrics;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::deploy::StatusReader;
use crate::events::receive::{self, Intake};
use crate::http::problem::Problem;

#[derive(Clone)]
struct Admin {
    status: StatusReader,
    stopping: CancellationToken,
    metrics: Arc<Metrics>,
    intake: Intake,
}

/// The content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stopped`. `stopping` is cancelled when the host begins to stop.
pub async fn serve(
    listener: TcpListener,
    status: StatusReader,
    metrics: Metrics,
    intake: Intake,
    stopping: CancellationToken,
    stopped: CancellationToken,
) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route(receive::PATH, post(take_events))
        .route("/v1/services", get(services))
        .route("/v1/services/{name}", get(service))
        .fallback(async |uri: Uri| {
            problem(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail = format!("{} does not answer {method}", uri.path());
            problem(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .with_state(Admin { status, stopping, metrics: Arc::new(metrics), intake });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopped.cancelled().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener ended");
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.stopping.is_cancelled() {
        problem(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping")
    } else if admin.status.is_ready() {
        "ready\n".into_response()
    } else {
        problem(StatusCode::SERVICE_UNAVAILABLE, "the plugin folder is being looked through")
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.metrics) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn take_events(State(admin): State<Admin>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let taken = crate::http::events::take(&admin.intake, &head.headers, body).await;
    taken.unwrap_or_else(Problem::into_response).map(Body::new)
}

async fn services(State(admin): State<Admin>) -> Response {
    Json(admin.status.read()).into_response()
}

async fn service(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    let found = admin.status.read().services.into_iter().find(|service| service.name == name);
    match found {
        Some(service) => Json(service).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("there is no service {name}")),
    }
}

/// Problem details (RFC 9457).
fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail.into(),
    });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
