//! Requests from one service to another, `http://NAME.internal`: the same way through the host as
//! a client's, without a listener and its connections.
//!
//! What a client may not do, a service may not either: it reaches the paths that are routes, with
//! heads and bodies of the sizes that a client's may have, and says nothing of where its request
//! comes from but what the host knows, which is its name ([`CALLER`]).

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, WasiBody};

use super::arriving::without_heads_fields;
use super::paced::Paced;
use super::problem::Problem;
use super::request::Fields;
use super::serve::{Asker, Routed, led_to, serve};
use super::{forwarded, request, response, sticky};
use crate::config::HttpLimits;
use crate::invocation::ResponseBody;
use crate::listen::trim;
use crate::name::ServiceName;
use crate::runtime::{Addressed, Answering, Neighbours, ReplayBody, Unread};
use crate::service::{Registry, Service, Ticket};

/// What a service is told of the service that asks it. No client can send it.
pub(crate) const CALLER: HeaderName = HeaderName::from_static("hotdock-caller");

/// Answers services that ask one another.
pub struct ByName {
    /// Its versions' instances hold this one.
    registry: Weak<Registry>,
    limits: Limits,
}

/// What holds for their requests as for clients'.
#[derive(Clone, Copy)]
struct Limits {
    max_header_bytes: usize,
    max_headers: usize,
    body_idle: Duration,
}

impl ByName {
    /// One that asks the services of `registry`.
    #[must_use]
    pub fn new(registry: &Arc<Registry>, limits: &HttpLimits) -> Self {
        let limits = Limits {
            max_header_bytes: limits.max_header_bytes,
            max_headers: limits.max_headers,
            body_idle: limits.body_idle,
        };
        Self { registry: Arc::downgrade(registry), limits }
    }
}

impl Neighbours for ByName {
    fn has(&self, service: &ServiceName) -> bool {
        let registry = self.registry.upgrade();
        registry.is_some_and(|registry| registry.load().services.contains_key(service))
    }

    fn answer(&self, addressed: Addressed) -> Answering {
        let (registry, limits) = (self.registry.upgrade(), self.limits);
        Box::pin(async move {
            let registry = registry.ok_or(Error::DestinationNotFound)?;
            let service = registry.load().services.get(&addressed.service).cloned();
            // It was there when its caller was let go.
            let service = service.ok_or(Error::DestinationNotFound)?;
            Ok(dispatch(&registry, service, addressed, limits).await)
        })
    }
}

/// Never fails: what goes wrong is an answer, too.
async fn dispatch(
    registry: &Registry,
    service: Arc<Service>,
    addressed: Addressed,
    limits: Limits,
) -> Response<WasiBody> {
    let is_head = addressed.request.method() == Method::HEAD;
    let mut response = match answer(registry, service, addressed, limits).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    response::make_sendable(&mut response, is_head, Version::HTTP_2);
    response.map(|body: ResponseBody| {
        // A guest stopped before the end of its answer.
        body.map_err(|_| Error::HttpResponseIncomplete).boxed_unsync()
    })
}

async fn answer(
    registry: &Registry,
    service: Arc<Service>,
    addressed: Addressed,
    limits: Limits,
) -> Result<Response<ResponseBody>, Problem> {
    let Addressed { request, caller, lineage, .. } = addressed;
    let (mut head, body) = request.into_parts();
    // The nearest to it: nothing of it is on a connection that others wait for.
    head.version = Version::HTTP_2;
    let fields = Fields::of(&head);
    let token = prepare(&mut head, &fields, &caller.service, limits)?;
    led_to(service.routes.find(None, head.uri.path(), &head.method), &head)?;
    let mut ticket = Ticket::by_name(token, &lineage.place);
    let head = Arc::new(head);
    let routed = Routed { service, head, fields: &fields, ticket: &mut ticket };
    let name = &caller.service;
    let asker = Asker::Service { name, lineage: &lineage };
    serve(registry, routed, asker, |of_version| {
        let body = match body.is_end_stream() {
            true => WasiBody::default(),
            false => {
                let body = body.map_frame(without_heads_fields);
                Paced::new(body, limits.body_idle).boxed_unsync()
            }
        };
        ReplayBody::new(body, of_version.request_body, of_version.replay_body, Unread::Drop)
    })
    .await
}

/// Checks a head and makes it what a guest sees. Returns the token of a client whose cookies the
/// caller passes on.
fn prepare(
    head: &mut Parts,
    fields: &Fields,
    caller: &ServiceName,
    limits: Limits,
) -> Result<Option<u64>, Problem> {
    if request::size(head, fields) > limits.max_header_bytes {
        return Err(Problem::head_too_large(limits.max_header_bytes));
    }
    request::check_method(&head.method)?;
    check_length(&head.headers)?;
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).expect("an origin's name is text");
    let headers = &mut head.headers;
    // As a listener's library does: what is asked of is judged by what is seen.
    trim(headers);
    request::remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    // A caller says no more of where its request comes from than a client that is not believed.
    forwarded::forget(headers);
    request::remove_lookalikes(headers);
    headers.insert(HOST, host);
    let name = HeaderValue::from_str(caller.as_str()).expect("a name is text");
    headers.insert(CALLER, name);
    if fields.cookies > 1 {
        request::join_cookies(headers);
    }
    if headers.len() > limits.max_headers {
        return Err(Problem::too_many_headers(limits.max_headers));
    }
    Ok(if fields.cookies > 0 { sticky::take(headers) } else { None })
}

/// A listener's library refuses these: who reads them could take one length or the other.
fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() {
        return Ok(());
    }
    Err(Problem::bad_request("the request's Content-Length is not one number"))
}
