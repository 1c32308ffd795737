//! `GET /v1/dead-letters`, and of one of them `GET`, `POST …/retry` and `DELETE`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{limit, log_change};
use crate::admin::Admin;
use crate::admin::condition::asked;
use crate::admin::problem::{Denied, NotNow, Problem};
use crate::events::{DeadLetterId, DeadLetterPage, DeadLetterView, DeadLettersOf};
use crate::name::ServiceName;

/// Which dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Those of this service.
    service: Option<String>,
    /// Those of this subscription, `<service>/<subscription>`.
    subscription: Option<String>,
    /// Those after this one, `<service>/<number>`.
    after: Option<String>,
    /// So many at the most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A dead letter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// The service.
    service: String,
    /// Its number there.
    number: String,
}

/// Where a dead letter is delivered again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    /// `<service>/<subscription>`: its own, or the one that it was a replay of.
    subscription: String,
}

/// The events that were given up, by service and number; of services that are
/// deployed.
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters",
    tag = "events", params(Parameters), responses(
    (status = 200, description = "A page", body = DeadLetterPage),
    (status = 400, description = "A parameter is wrong", body = Problem,
     content_type = "application/problem+json"),
    (status = 404, description = "There is no such service", body = Problem,
     content_type = "application/problem+json"),
    Denied, NotNow,
))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<DeadLetterPage>, Problem> {
    let Parameters { service, subscription, after, limit: asked } = parameters;
    let service = service.map(|name| service_name("service", &name)).transpose()?;
    let of = match (service, subscription) {
        (service, Some(full)) => of_subscription(service.as_ref(), &full)?,
        (Some(service), None) => DeadLettersOf::Service(service),
        (None, None) => DeadLettersOf::All,
    };
    let after = after.map(|after| after.parse::<DeadLetterId>()).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("after: {error}")))?;
    Ok(Json(admin.events.dead_letters(&of, after.as_ref(), limit(asked)?).await?))
}

/// One event that was given up.
#[utoipa::path(get, path = "/v1/dead-letters/{service}/{number}", operation_id = "get_dead_letter",
    tag = "events", params(Named),
    responses(
        (status = 200, description = "With its event", body = DeadLetterView),
        (status = 404, description = "It is not there", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
) -> Result<Json<DeadLetterView>, Problem> {
    Ok(Json(admin.events.dead_letter(&named.id()?).await?))
}

/// Delivers it again, as if for the first time.
#[utoipa::path(post, path = "/v1/dead-letters/{service}/{number}/retry", operation_id = "retry_dead_letter",
    tag = "events",
    params(Named),
    responses(
        (status = 200, description = "It is due", body = Retried),
        (status = 400, description = "A header is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "It is not there", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "No version that serves wants it", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn retry(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
) -> Result<Json<Retried>, Problem> {
    let who = asked(&headers)?.who;
    let subscription = admin.events.retry_dead(&named.id()?).await?;
    named.log(Some(&subscription), who, "is delivered again");
    Ok(Json(Retried { subscription }))
}

/// Drops it for good.
#[utoipa::path(delete, path = "/v1/dead-letters/{service}/{number}", operation_id = "drop_dead_letter",
    tag = "events",
    params(Named),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "A header is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "It is not there", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn remove(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let who = asked(&headers)?.who;
    admin.events.drop_dead(&named.id()?).await?;
    named.log(None, who, "is dropped");
    Ok(StatusCode::NO_CONTENT)
}

impl Named {
    /// Has the log say what an operator did to it; `subscription` is `<service>/<subscription>`.
    fn log(&self, subscription: Option<&str>, who: Option<String>, what: &str) {
        let Self { service, number } = self;
        let subscription = subscription.and_then(|full| full.split_once('/')).map(|(_, name)| name);
        let what = format!("dead letter {service}/{number} {what}");
        log_change(service, subscription, None, who, &what);
    }

    /// One that cannot be is not there.
    fn id(&self) -> Result<DeadLetterId, Problem> {
        let Self { service, number } = self;
        format!("{service}/{number}").parse().map_err(|error| {
            let detail = format!("there is no dead letter {service}/{number}: {error}");
            Problem::new(StatusCode::NOT_FOUND, detail)
        })
    }
}

fn of_subscription(service: Option<&ServiceName>, full: &str) -> Result<DeadLettersOf, Problem> {
    let (of, name) = full.split_once('/').ok_or_else(|| {
        let detail = format!("subscription: `{full}` is not SERVICE/SUBSCRIPTION");
        Problem::bad_request(detail)
    })?;
    let of = service_name("subscription", of)?;
    if service.is_some_and(|service| *service != of) {
        let detail = format!("subscription: {full} is not of the service that `service` names");
        return Err(Problem::bad_request(detail));
    }
    Ok(DeadLettersOf::Subscription(of, name.to_owned()))
}

fn service_name(parameter: &str, text: &str) -> Result<ServiceName, Problem> {
    let name = ServiceName::of_subscriber(text);
    name.map_err(|error| Problem::bad_request(format!("{parameter}: {error}")))
}
