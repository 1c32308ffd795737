//! Requests to `http://NAME.internal`: to the service NAME of this host, in memory. Such a name
//! is never looked up, and no address rule and no client has a part in them.

use std::future::Future;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::RequestBody;
use super::grant::{Grant, InFlight};
use super::request::{self, Answer, Way};
use crate::deadline::within;
use crate::manifest::Origin;
use crate::name::ServiceName;

impl Grant {
    /// Whether a request may go to the service that this origin names. What is not granted is
    /// denied whether it is deployed or not: who may not call has nothing to find out.
    pub(super) fn check_service(&self, origin: &Origin, name: &str) -> Result<ServiceName, Error> {
        let calls = &self.manifest.capabilities.calls;
        let Some(service) = calls.iter().find(|service| service.as_str() == name) else {
            self.warn_once(&format!(
                "a request to {origin} is denied: write `calls = [\"{name}\"]` under \
                 `[capabilities]` in the manifest to grant it; `outbound` grants nothing under \
                 NAME.internal, which is the service NAME of this host"
            ));
            return Err(Error::HttpRequestDenied);
        };
        if origin.is_https() || !origin.has_default_port() {
            self.warn_once(&format!(
                "a request to {origin} is denied: a service of this host is asked in memory, \
                 without TLS and without a port: write `http://{name}.internal`"
            ));
            return Err(Error::HttpRequestDenied);
        }
        Ok(service.clone())
    }

    /// Refuses a request to a service that is not deployed.
    pub(crate) fn tell_not_deployed(&self, service: &ServiceName) -> Error {
        self.requests.note("not-deployed");
        self.warn_once(&format!(
            "a request to http://{service}.internal is refused: no service `{service}` is deployed"
        ));
        Error::DestinationNotFound
    }

    /// Refuses a request that is `depth` requests deep already.
    pub(crate) fn tell_too_deep(&self, service: &ServiceName, depth: u8) -> Error {
        self.requests.note("too-deep");
        self.warn_once(&format!(
            "a request to http://{service}.internal is refused: it would be number {} in a row of \
             services that ask one another, each of which waits for the next; {depth} are allowed",
            u16::from(depth) + 1
        ));
        Error::LoopDetected
    }
}

/// Has `ask` answer the request. Of the host's timeouts none holds: how long it may take the
/// service says that is asked. The guest may want it sooner.
pub(super) fn send<A, F>(
    runtime: &Handle,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
    over: CancellationToken,
    in_flight: InFlight,
    ask: A,
) -> Answer
where
    A: FnOnce(Request<WasiBody>) -> F + Send + 'static,
    F: Future<Output = Result<Response<WasiBody>, Error>> + Send + 'static,
{
    let RequestOptions { first_byte_timeout, between_bytes_timeout, .. } =
        options.unwrap_or_default();
    let answer = move |request: Request<RequestBody>| async move {
        let answer = ask(request.map(RequestBody::boxed_unsync));
        match first_byte_timeout {
            Some(limit) => within(limit, answer).await.unwrap_or(Err(Error::ConnectionReadTimeout)),
            None => answer.await,
        }
    };
    // The one error that the host makes of an answer that ends too early.
    let named = |_: &Error| Error::HttpResponseIncomplete;
    let way = Way::<WasiBody> { over, between_bytes: between_bytes_timeout, in_flight, named };
    request::on_its_way(runtime, request, answer, way)
}
