//! The operator's listener.
//!
//! - `GET /healthz`: the process lives
//! - `GET /readyz`: what the plugin folder had at the start is dealt with, and
//!   the host is not stopping
//! - `GET /metrics`: counters and gauges of every service (OpenMetrics text)
//! - `POST /events`: takes events from outside, of any type (CloudEvents)
//! - `GET /v1/services`: every service with its versions, digests and states
//! - `GET /v1/services/{name}`: one of them
//! - `PUT /v1/services/{name}`: deploys a component that is uploaded
//! - `DELETE /v1/services/{name}`: undeploys
//! - `GET /v1/services/{name}/versions`: the versions that are kept
//! - `PUT /v1/services/{name}/traffic`: shares the traffic among them
//! - `POST /v1/services/{name}/promote`, `…/rollback`: all of it to one of them
//! - `POST /v1/services/{name}/drain`: ends what has no traffic any more
//! - `GET /v1/deployments`, `GET /v1/deployments/{id}`: their steps and times
//! - `GET /v1/notices`: what happens, as server-sent events
//! - `GET /v1/logs`: what the host and its services logged; also as it comes
//! - `/v1/events`, `/v1/subscriptions`, `/v1/dead-letters`: see `operate`
//! - `GET /v1/openapi.json`: all this for programs (OpenAPI 3.1)
//!
//! Query parameters that an endpoint doesn't have are refused.
//! Every error is problem details (RFC 9457). `/healthz` and `/readyz` are for
//! everyone; the rest asks for the token, where there is one ([`access`]).

mod accept;
pub mod access;
mod condition;
mod deployments;
mod events;
mod exposition;
mod form;
mod health;
mod lasting;
mod logs;
mod notices;
mod openapi;
mod operate;
mod patience;
mod problem;
mod query;
mod services;
mod traffic;
mod unread;
mod upload;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_request, map_response};
use axum::response::Response;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry as Metrics;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi as Api;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::access::Access;
use self::lasting::Places;
use self::problem::Problem;
use crate::deploy::{Operator, StatusReader};
use crate::events::Events;
use crate::events::receive::Intake;
use crate::listen::{Answering, Exchange, Listener, State, trim};
use crate::telemetry::Logs;

/// How long requests may go on when the listener ends; the last thing that a host does.
const DRAIN: Duration = Duration::from_secs(2);

/// What the endpoints share.
#[derive(Clone)]
struct Admin {
    operator: Operator,
    status: StatusReader,
    stopping: CancellationToken,
    metrics: Arc<Metrics>,
    logs: Logs,
    events: Events,
    intake: Intake,
    /// For answers that last: other connections have to be left.
    places: Places,
}

/// What the listener shows and steers.
pub struct Parts {
    /// Does what is asked for.
    pub operator: Operator,
    /// Tells whether the host is ready.
    pub status: StatusReader,
    /// What a scrape shows.
    pub metrics: Metrics,
    /// What operators are shown of the log.
    pub logs: Logs,
    /// Shows and steers what becomes of events.
    pub events: Events,
    /// Takes events from outside.
    pub intake: Intake,
    /// Who may ask.
    pub access: Access,
    /// How long nothing may come of a request's body.
    pub body_idle: Duration,
    /// Cancelled when the host begins to stop.
    pub stopping: CancellationToken,
}

/// Serves until `stopped`.
pub async fn serve(listener: Listener, parts: Parts, stopped: CancellationToken) {
    let Parts { operator, status, metrics, logs, events, intake, access, stopping, body_idle } =
        parts;
    let metrics = Arc::new(metrics);
    let places = Places::among(listener.max_connections());
    let admin = Admin { operator, status, stopping, metrics, logs, events, intake, places };
    let (router, builder) = (router(admin, access, body_idle), listener.builder());
    let serve = |stream, _: SocketAddr, state: Arc<State>| {
        let router = router.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let exchange = Exchange::begin(&state, request.version());
            trim(request.headers_mut());
            let answer = router.clone().call(request);
            Answering::new(Box::pin(async move {
                Ok::<_, Infallible>(exchange.answers(without_length(answer.await?)))
            }))
        });
        builder.serve_connection(TokioIo::new(stream), service).into_owned()
    };
    if !listener.serve(serve, stopped, DRAIN).await {
        tracing::debug!("the admin listener's last requests were cut off");
    }
}

/// The framework gives each answer a length; one without content has none (RFC 9110 §8.6).
fn without_length(mut answer: Response) -> Response {
    if matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    answer
}

/// What is answered, and the document that says so.
fn endpoints() -> (Router<Admin>, Api) {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(events::take))
        .routes(routes!(services::list))
        .routes(routes!(services::get, upload::put, services::undeploy))
        .routes(routes!(services::versions))
        .routes(routes!(traffic::put))
        .routes(routes!(traffic::promote))
        .routes(routes!(traffic::rollback))
        .routes(routes!(traffic::drain))
        .routes(routes!(deployments::list))
        .routes(routes!(deployments::get))
        .routes(routes!(notices::follow))
        .routes(routes!(logs::list))
        .routes(routes!(openapi::get))
        .merge(operate::router())
        .split_for_parts()
}

fn router(admin: Admin, access: Access, body_idle: Duration) -> Router {
    let (router, api) = endpoints();
    let known = query::known(&api);
    let conditions = (admin.clone(), Arc::clone(&known));
    router
        .layer(Extension(Arc::new(api)))
        .fallback(async |uri: Uri| {
            Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail = format!("{} does not answer {method}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(from_fn_with_state(conditions, condition::check))
        .layer(from_fn_with_state(known, query::check))
        .layer(from_fn_with_state(access, access::check))
        .layer(from_fn(form::check))
        .layer(from_fn_with_state(body_idle, patience::lose))
        .layer(map_response(problem::from_plain))
        .layer(map_request(unread::read_later))
        .with_state(admin)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// OpenAPI 3.1, Operation Object: clients are made with functions that are called so.
    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let (_, api) = endpoints();
        let api = serde_json::to_value(&api).expect("JSON");
        let paths = api["paths"].as_object().expect("paths").values();
        let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
        let ids: Vec<_> =
            operations.map(|each| each["operationId"].as_str().expect("an id")).collect();
        let unique: HashSet<_> = ids.iter().collect();
        assert!(ids.len() > 20 && unique.len() == ids.len(), "{ids:?}");
    }
}
