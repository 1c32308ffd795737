//! `GET /v1/subscriptions`, `GET /v1/subscriptions/{service}/{name}`, `GET …/held`.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{limit, log_change};
use crate::admin::Admin;
use crate::admin::problem::{Denied, NotNow, Problem};
use crate::events::{HeldPage, SubscriptionPage, SubscriptionStatus};

/// A subscription.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// The service.
    service: String,
    /// The subscription's name, by default its type pattern; percent-encoded.
    name: String,
}

/// Which subscriptions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ByName {
    /// Those after this name, `<service>/<subscription>`.
    after: Option<String>,
    /// So many at the most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Which of the events that wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ByPosition {
    /// Those after this position.
    #[param(format = "uint64")]
    after: Option<u64>,
    /// So many at the most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Named {
    pub(super) fn full(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }

    /// Has the log say what an operator did to it, or to an event of it.
    pub(super) fn log(&self, position: Option<u64>, who: Option<String>, what: &str) {
        log_change(&self.service, Some(&self.name), position, who, what);
    }
}

/// The subscriptions and how they stand, by name: those at work, replays among
/// them, and those that no version wants any more and that still hold events.
#[utoipa::path(get, path = "/v1/subscriptions", operation_id = "list_subscriptions",
    tag = "events", params(ByName), responses(
    (status = 200, description = "A page, as of now", body = SubscriptionPage),
    (status = 400, description = "A parameter is wrong", body = Problem,
     content_type = "application/problem+json"),
    Denied, NotNow,
))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(ByName { after, limit: asked }): Query<ByName>,
) -> Result<Json<SubscriptionPage>, Problem> {
    Ok(Json(admin.events.subscriptions(after.as_deref(), limit(asked)?).await?))
}

/// One subscription and how it stands.
#[utoipa::path(get, path = "/v1/subscriptions/{service}/{name}", operation_id = "get_subscription",
    tag = "events", params(Named),
    responses(
        (status = 200, description = "As of now", body = SubscriptionStatus),
        (status = 404, description = "There is none of the name", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn get(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
) -> Result<Json<SubscriptionStatus>, Problem> {
    Ok(Json(admin.events.subscription(&named.full()).await?))
}

/// The events that wait in a subscription: for another attempt, for one of their
/// key, or for an operator.
#[utoipa::path(get, path = "/v1/subscriptions/{service}/{name}/held", operation_id = "list_held",
    tag = "events",
    params(Named, ByPosition),
    responses(
        (status = 200, description = "A page, as of now", body = HeldPage),
        (status = 400, description = "A parameter is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn held(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    Query(ByPosition { after, limit: asked }): Query<ByPosition>,
) -> Result<Json<HeldPage>, Problem> {
    let after = after.unwrap_or(0);
    Ok(Json(admin.events.held(&named.full(), after, limit(asked)?).await?))
}
