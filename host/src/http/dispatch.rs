//! From a client's request to its response: its head, its route, and what of its answer is the
//! host's.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wasmtime_wasi_http::WasiBody;

use super::client::Client;
use super::leftover::Leftover;
use super::paced::Paced;
use super::problem::Problem;
use super::request::Fields;
use super::serve::{Asker, Routed, led_to, serve};
use super::{events, request, response, sticky};
use crate::bus::Sender;
use crate::config::site;
use crate::events::receive::{self, Intake};
use crate::invocation::ResponseBody;
use crate::runtime::{ReplayBody, Unread};
use crate::service::{Registry, Service, Ticket, path};

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
    let mut body = Leftover::new(body, &head, fields.may_hold_body(), client);
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
    if let Some(intake) = intake {
        if head.method != Method::POST {
            let path = head.uri.path();
            return Err(Problem::method_not_allowed(&head.method, path, vec![Method::POST]));
        }
        events::check(intake, &head.headers)?;
        let sender = Sender::Anybody(site(client.origin(&head.headers)));
        return events::take(intake, &head.headers, leftover.follow(), sender).await;
    }
    let service = route(registry, &head)?;
    let mut ticket = Ticket::new(token);
    let routed = Routed { service, head: Arc::clone(&head), fields, ticket: &mut ticket };
    let idle = client.common.body_idle;
    let unread = unread(&head, fields.expects_continue);
    let mut response = serve(registry, routed, Asker::Client(client), |limits| {
        let body = leftover.take();
        // Most requests have none, and what is boxed then takes no room.
        let is_none = body.is_end_stream();
        let body =
            if is_none { WasiBody::default() } else { Paced::new(body, idle).boxed_unsync() };
        let body = ReplayBody::new(body, limits.request_body, limits.replay_body, unread);
        leftover.is_with(body.clone());
        body
    })
    .await?;
    if let Some(token) = ticket.new_token() {
        sticky::give(response.headers_mut(), token, &head.uri);
    }
    Ok(response)
}

/// Whether it is for the host, which takes events there.
///
/// # Errors
/// 400 where it is by another reading of its path alone: a service is not to get what was meant
/// for the host, whatever the method, nor to answer in its place.
fn takes_events(head: &Parts) -> Result<bool, Problem> {
    let path = path::normal(head.uri.path());
    if path == receive::PATH {
        return Ok(true);
    }
    let is_meant = path::resolved(&path).is_some_and(|path| path == receive::PATH);
    if is_meant { Err(Problem::ambiguous_path(head.uri.path())) } else { Ok(false) }
}

/// The service that answers this host, path and method.
pub(crate) fn route(registry: &Registry, head: &Parts) -> Result<Arc<Service>, Problem> {
    let path = head.uri.path();
    let snapshot = registry.load();
    // To take it out of the authority costs as much as all of the rest.
    let host = if snapshot.routes.names_hosts() { head.uri.host() } else { None };
    let name = led_to(snapshot.routes.find(host, path, &head.method), head)?;
    snapshot.services.get(name).cloned().ok_or_else(|| Problem::no_route(path))
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
