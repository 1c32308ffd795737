//! From a request whose head was checked to its answer, whoever asks: choose a version, admit,
//! lease, invoke.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokio::sync::Semaphore;

use super::client::Client;
use super::judged::Judged;
use super::problem::Problem;
use super::request::Fields;
use super::uploads::{TooMany, Upload};
use super::{idempotency, response};
use crate::deadline::within;
use crate::invocation::{Failure, Invocation, Replayed, ResponseBody, invoke};
use crate::manifest::Limits;
use crate::name::{ServiceName, VersionId};
use crate::runtime::calls::Lineage;
use crate::runtime::{Fault, ReplayBody};
use crate::service::{
    Kind, Outcome, Permit, Registry, RouteMatch, Service, ServiceMetrics, Ticket,
};
use crate::state::Store;

/// How much of a body is waited for, and how long, before its request takes a place among those
/// that run.
const READ_AHEAD_BYTES: u64 = 64 << 10;
const READ_AHEAD_TIME: Duration = Duration::from_millis(100);

/// A request of which it is known which service answers it.
pub(super) struct Routed<'a> {
    pub(super) service: Arc<Service>,
    pub(super) head: Arc<Parts>,
    pub(super) fields: &'a Fields,
    pub(super) ticket: &'a mut Ticket,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    /// A client, by the network.
    Client(&'a Client),
    /// A service of this host, by name.
    Service {
        name: &'a ServiceName,
        /// What the request has of the invocation that sent it.
        lineage: &'a Lineage,
    },
}

impl Asker<'_> {
    fn lineage(self) -> Option<Box<Lineage>> {
        match self {
            Self::Client(_) => None,
            Self::Service { lineage, .. } => Some(Box::new(lineage.clone())),
        }
    }

    /// The permit of this service that an invocation holds which waits for the answer.
    fn permit_of(self, service: &ServiceName) -> Option<Arc<Semaphore>> {
        match self {
            Self::Client(_) => None,
            Self::Service { lineage, .. } => lineage.permit_of(service),
        }
    }

    /// One more body of its that takes its time. How many of them a service sends is a matter
    /// of its own limits.
    fn takes_its_time(self) -> Result<Option<Upload>, TooMany> {
        match self {
            Self::Client(client) => client.common.uploads.take(client).map(Some),
            Self::Service { .. } => Ok(None),
        }
    }

    /// Whether it has left an answer of this service before.
    fn left_before(self, head: &Parts, metrics: &ServiceMetrics) -> bool {
        !match self {
            Self::Client(client) => metrics.leavers.is_first(client.origin(&head.headers)),
            Self::Service { name, .. } => metrics.leavers.is_first_of(name),
        }
    }
}

/// The name of the service that a request with this head is led to.
///
/// # Errors
/// 400, 404 and 405 where it is led to none.
pub(super) fn led_to<'a>(found: RouteMatch<'a>, head: &Parts) -> Result<&'a ServiceName, Problem> {
    let path = head.uri.path();
    match found {
        RouteMatch::Service(name) => Ok(name),
        RouteMatch::MethodNotAllowed(allow) => {
            Err(Problem::method_not_allowed(&head.method, path, allow))
        }
        RouteMatch::Ambiguous => Err(Problem::ambiguous_path(path)),
        RouteMatch::NotFound => Err(Problem::no_route(path)),
    }
}

/// The service's answer. `take` takes the request's body, within the limits of the version that
/// will probably read it.
///
/// # Errors
/// What goes wrong, as who asks learns of it.
pub(super) async fn serve(
    registry: &Registry,
    routed: Routed<'_>,
    asker: Asker<'_>,
    take: impl FnOnce(&Limits) -> ReplayBody,
) -> Result<Response<ResponseBody>, Problem> {
    let Routed { service, head, fields, ticket } = routed;
    let key = idempotency::scope(&head)?;
    let count = service.metrics.begin(Kind::Request);
    let meant = service.traffic.choose(&head, ticket);
    let limits = &meant.manifest.limits;
    let Fields { expects_continue, content_length: length, .. } = *fields;
    if length.is_some_and(|length| length > limits.request_body) {
        count.ended(Outcome::BodyTooLarge);
        return Err(Problem::body_too_large(&service.name, limits.request_body));
    }
    if key.is_some() && length.is_some_and(|length| length > limits.replay_body) {
        count.ended(Outcome::BodyTooLarge);
        let failure = Failure::KeyedBodyTooLarge(limits.replay_body);
        return Err(Problem::of_failure(&service.name, &failure));
    }
    let body = take(limits);
    // One that is on its way is waited for by nobody who could do something else meanwhile.
    let takes_its_time = !body.has_ended()
        && (expects_continue || !body.arrives(READ_AHEAD_BYTES, READ_AHEAD_TIME).await);
    let at_once = if takes_its_time { None } else { service.admission.try_admit() };
    let admitted = match at_once {
        Some(permit) => Some(permit),
        None => {
            let upload = takes_its_time.then(|| asker.takes_its_time()).transpose();
            let Ok(upload) = upload else {
                count.ended(Outcome::Overloaded);
                meant.metrics.count_refused(Kind::Request, Outcome::Overloaded);
                return Err(Problem::too_many_uploads(&service.name));
            };
            // Boxed, so that those who needn't wait don't carry it.
            let admitted = admit(&service, upload, &body, expects_continue, limits.deadline);
            let lent = Permit::lent(asker.permit_of(&service.name));
            Box::pin(async {
                tokio::select! {
                    biased;
                    permit = lent => Some(permit),
                    admitted = admitted => admitted,
                }
            })
            .await
        }
    };
    // No service has to make anything of half a body that is known to be no more.
    let failure = match body.fault() {
        Some(Fault::Late) => Some(Failure::BodyIdle),
        Some(Fault::BrokeOff) => Some(Failure::BodyBroken),
        Some(Fault::TooLarge) | None => None,
    };
    if let Some(failure) = failure {
        count.ended(failure.outcome());
        return Err(Problem::of_failure(&service.name, &failure));
    }
    let Some(permit) = admitted else {
        count.ended(Outcome::Overloaded);
        meant.metrics.count_refused(Kind::Request, Outcome::Overloaded);
        return Err(Problem::overloaded(&service.name));
    };
    // Only now: a version that was swapped out while this waited must not run it.
    let chosen = registry.lease(&service.name, |traffic| Some(traffic.choose(&head, ticket)));
    let Some((service, lease)) = chosen else {
        return Err(match registry.load().services.contains_key(&service.name) {
            true => {
                count.ended(Outcome::Drained);
                Problem::of_failure(&service.name, &Failure::Drained)
            }
            false => Problem::no_route(head.uri.path()),
        });
    };
    let running = Arc::clone(lease.version());
    let left_before = || asker.left_before(&head, &service.metrics);
    let measure = Judged::begin(&running.metrics, &body, left_before);
    let invocation = Invocation {
        lease,
        permit,
        store: Arc::clone(&service.store),
        metrics: Arc::clone(&service.metrics),
        body: body.clone(),
        head: Arc::clone(&head),
        key,
        ticket: *ticket,
        lineage: asker.lineage(),
    };
    match invoke(invocation).await {
        Ok(mut response) => {
            // It agreed before it read: a client that waits for 100 would keep the body.
            if expects_continue && response.status().is_success() {
                body.ask().await;
            }
            if let Some(taking) = response.body().taking()
                && !service.admission.streams(taking)
            {
                running.pool.limits_reached().note("streams");
                tracing::info!(
                    service = %service.name,
                    "an answer is no stream, since there are as many as may be ([limits] streams): \
                     it has its permit, and ends at its deadline"
                );
            }
            if let Some(guest) = response.body().unwanted_from() {
                service.admission.goes_on_for_nobody(guest);
            }
            let outcome = match response.extensions().get() {
                Some(Replayed) => Outcome::Replayed,
                None => Outcome::Answered,
            };
            count.ended(outcome);
            measure.ended(outcome, Some(response.status()));
            response::make_hosts(&mut response);
            Ok(response)
        }
        Err(failure) => {
            let failure = match failure {
                // It was not the service that took so long.
                Failure::Deadline(deadline) if body.is_waited_for() => Failure::BodyLate(deadline),
                failure => failure.named(&service.store),
            };
            count.ended(failure.outcome());
            measure.ended(failure.outcome(), None);
            Err(failed(&running.id, &service.store, &head, &failure))
        }
    }
}

/// Waits until the request may run; `None` where as many wait as may, its time is over, or its
/// body is too late.
async fn admit(
    service: &Service,
    upload: Option<Option<Upload>>,
    body: &ReplayBody,
    expects_continue: bool,
    deadline: Duration,
) -> Option<Permit> {
    let admitted = within(deadline, async {
        if let Some(upload) = upload {
            tokio::select! {
                biased;
                part = service.admission.admit_upload() => body.hold((upload, part)),
                // It may come, or be given up, before it is its turn.
                () = body.ends(READ_AHEAD_BYTES), if !expects_continue => {}
            }
            // Many are given up at once, and none of them may take a place in the queue for that.
            if matches!(body.fault(), Some(Fault::Late | Fault::BrokeOff)) {
                return None;
            }
        }
        service.admission.admit().await.ok()
    });
    admitted.await.ok().flatten()
}

/// Logs a failure, once, and says what the client learns of it.
fn failed(running: &VersionId, store: &Store, head: &Parts, failure: &Failure) -> Problem {
    let VersionId { service, number: version } = running;
    let problem = Problem::of_failure(service, failure);
    let (method, path) = (&head.method, head.uri.path());
    let status = problem.status().as_u16();
    match failure {
        // The client's doing, or the load's.
        Failure::BodyTooLarge(_)
        | Failure::KeyedBodyTooLarge(_)
        | Failure::BodyBroken
        | Failure::BodyIdle
        | Failure::BodyLate(_)
        | Failure::KeyInUse
        | Failure::KeyReused
        | Failure::Conflict
        // Said once for all, when it was found to be so.
        | Failure::DiskFull
        | Failure::LogFull(_) => {
            tracing::debug!(%service, version, %method, path, status, "{failure}");
        }
        Failure::StoreFull if !store.tells_full() => {
            tracing::debug!(%service, version, %method, path, status, "{failure}");
        }
        _ => {
            tracing::warn!(%service, version, %method, path, status, "{failure}");
        }
    }
    problem
}
