//! From a request to a response: route, choose a version, admit, lease, invoke.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wasmtime_wasi_http::WasiBody;

use super::arriving::Arriving;
use super::client::Client;
use super::judged::Judged;
use super::leftover::Leftover;
use super::paced::Paced;
use super::problem::Problem;
use super::request::Fields;
use super::uploads::Upload;
use super::{events, idempotency, request, response, sticky};
use crate::bus::Sender;
use crate::config::site;
use crate::deadline::within;
use crate::events::receive::{self, Intake};
use crate::invocation::{Failure, Invocation, ResponseBody, invoke};
use crate::manifest::Limits;
use crate::name::VersionId;
use crate::runtime::{Fault, ReplayBody, Unread};
use crate::service::{Kind, Outcome, Permit, Registry, RouteMatch, Service, Ticket, path};
use crate::state::Store;

/// How much of a body is waited for, and how long, before its request takes a place among those
/// that run.
const READ_AHEAD_BYTES: u64 = 64 << 10;
const READ_AHEAD_TIME: Duration = Duration::from_millis(100);

/// Answers one request. Never fails: what goes wrong is an answer, too.
pub async fn dispatch(
    registry: &Registry,
    intake: Option<&Intake>,
    request: Request<Incoming>,
    client: &Client,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let (is_head, version) = (head.method == Method::HEAD, head.version);
    let fields = Fields::of(&head);
    let mut body = Leftover::new(body, &head, fields.expects_continue, client);
    let head = Arc::new(head);
    let mut response = match answer(registry, intake, head, &fields, &mut body, client).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    response::make_sendable(&mut response, is_head, version);
    body.leave(&mut response);
    response
}

async fn answer(
    registry: &Registry,
    intake: Option<&Intake>,
    mut head: Arc<Parts>,
    fields: &Fields,
    leftover: &mut Leftover,
    client: &Client,
) -> Result<Response<ResponseBody>, Problem> {
    let own = Arc::get_mut(&mut head).expect("nobody else has it yet");
    request::prepare(own, fields, client)?;
    let token = if fields.cookies > 0 { sticky::take(&mut own.headers) } else { None };
    if request::is_about_host(&head) {
        return Ok(response::options());
    }
    let intake = match intake {
        Some(intake) => takes_events(&head)?.then_some(intake),
        None => None,
    };
    if let Some(intake) = intake.filter(|_| head.method == Method::POST) {
        let sender = Sender::Anybody(site(client.origin(&head.headers)));
        return events::take(intake, &head.headers, leftover.follow(), sender).await;
    }
    let service = route(registry, &head, intake.is_some())?;
    let mut ticket = Ticket::new(token);
    let key = idempotency::scope(&head)?;
    let count = service.metrics.begin(Kind::Request);
    let meant = service.traffic.choose(&head, &mut ticket);
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
    let idle = client.common.body_idle;
    let body = replayable(leftover.take(), limits, idle, unread(&head, expects_continue));
    leftover.is_with(body.clone());
    // One that is on its way is waited for by nobody who could do something else meanwhile.
    let takes_its_time = !body.has_ended()
        && (expects_continue || !body.arrives(READ_AHEAD_BYTES, READ_AHEAD_TIME).await);
    let at_once = if takes_its_time { None } else { service.admission.try_admit() };
    let admitted = match at_once {
        Some(permit) => Some(permit),
        None => {
            let upload = takes_its_time.then(|| client.common.uploads.take(client)).transpose();
            let Ok(upload) = upload else {
                count.ended(Outcome::Overloaded);
                meant.metrics.count_refused(Outcome::Overloaded);
                return Err(Problem::too_many_uploads(&service.name));
            };
            // Boxed, so that those who needn't wait don't carry it.
            Box::pin(admit(&service, upload, &body, expects_continue, limits.deadline)).await
        }
    };
    // No service has to make anything of half a body that is known to be no more.
    let failure = match body.fault() {
        Some(Fault::Late) => Some(Failure::BodyLate(idle)),
        Some(Fault::BrokeOff) => Some(Failure::BodyBroken),
        Some(Fault::TooLarge) | None => None,
    };
    if let Some(failure) = failure {
        count.ended(failure.outcome());
        return Err(Problem::of_failure(&service.name, &failure));
    }
    let Some(permit) = admitted else {
        count.ended(Outcome::Overloaded);
        meant.metrics.count_refused(Outcome::Overloaded);
        return Err(Problem::overloaded(&service.name));
    };
    // Only now: a version that was swapped out while this waited must not run it.
    let chosen = registry.lease(&service.name, |traffic| Some(traffic.choose(&head, &mut ticket)));
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
    let left_before = || !service.metrics.leavers.is_first(client.origin(&head.headers));
    let measure = Judged::begin(&running.metrics, &body, left_before);
    let invocation = Invocation {
        lease,
        permit,
        store: Arc::clone(&service.store),
        metrics: Arc::clone(&service.metrics),
        body: body.clone(),
        head: Arc::clone(&head),
        key,
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
            count.ended(Outcome::Answered);
            measure.ended(Outcome::Answered, Some(response.status()));
            response::make_hosts(&mut response);
            if let Some(token) = ticket.new_token() {
                sticky::give(response.headers_mut(), token, &head.uri);
            }
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

/// Whether it is for the host, which takes events there.
///
/// # Errors
/// 400 where it is by another reading of its path alone: a service is not to get what was meant
/// for the host.
fn takes_events(head: &Parts) -> Result<bool, Problem> {
    let path = path::normal(head.uri.path());
    if path == receive::PATH {
        return Ok(true);
    }
    let is_meant = head.method == Method::POST
        && path::resolved(&path).is_some_and(|path| path == receive::PATH);
    if is_meant { Err(Problem::ambiguous_path(head.uri.path())) } else { Ok(false) }
}

/// Waits until the request may run; `None` where as many wait as may, its time is over, or its
/// body is too late.
async fn admit(
    service: &Service,
    upload: Option<Upload>,
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

/// The service that answers this host, path and method. Where there is none the
/// host itself may still take events at this path.
pub(crate) fn route(
    registry: &Registry,
    head: &Parts,
    takes_events: bool,
) -> Result<Arc<Service>, Problem> {
    let path = head.uri.path();
    let snapshot = registry.load();
    // To take it out of the authority costs as much as all of the rest.
    let host = if snapshot.routes.names_hosts() { head.uri.host() } else { None };
    match snapshot.routes.find(host, path, &head.method) {
        RouteMatch::Service(name) => {
            snapshot.services.get(name).cloned().ok_or_else(|| Problem::no_route(path))
        }
        RouteMatch::MethodNotAllowed(allow) => {
            Err(Problem::method_not_allowed(&head.method, path, allow))
        }
        RouteMatch::Ambiguous => Err(Problem::ambiguous_path(path)),
        RouteMatch::NotFound if takes_events => {
            Err(Problem::method_not_allowed(&head.method, path, vec![Method::POST]))
        }
        RouteMatch::NotFound => Err(Problem::no_route(path)),
    }
}

fn replayable(body: Arriving, limits: &Limits, idle: Duration, unread: Unread) -> ReplayBody {
    // Most requests have none, and what is boxed then takes no room.
    let body = if body.is_end_stream() {
        WasiBody::default()
    } else {
        Paced::new(body, idle).boxed_unsync()
    };
    ReplayBody::new(body, limits.request_body, limits.replay_body, unread)
}

/// What becomes of this request's body if the service doesn't read it.
fn unread(head: &Parts, expects_continue: bool) -> Unread {
    match (head.version, expects_continue) {
        // Other streams of the connection don't care.
        (Version::HTTP_2, _) => Unread::Drop,
        (_, true) => Unread::DrainIfAsked,
        (_, false) => Unread::Drain,
    }
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
