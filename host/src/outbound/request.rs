//! One outgoing request, from its head to the end of its answer's body. It runs
//! in a task of its own: a TLS handshake is not the guest's computing time.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::asker::Client;
use super::body::{self, RequestBody, ResponseBody};
use super::grant::{Grant, InFlight};
use super::{failure, headers};
use crate::config::OutboundConfig;

/// An answer, and what ends when the request was sent.
pub(crate) type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Interim answers (1xx) that a peer may send before its answer, and the bytes of their heads:
/// the guest sees nothing of them, and they are no progress.
const MAX_INTERIM: usize = 64;
const MAX_INTERIM_BYTES: usize = 64 << 10;

/// Counts an exchange's interim answers. (Of HTTP/2's nobody is told; they end at the timeout.)
struct Interim {
    answers: AtomicUsize,
    bytes: AtomicUsize,
    too_much: CancellationToken,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Option<Duration>,
}

impl Timeouts {
    /// The host's; the guest's options may only shorten them.
    pub(super) fn new(config: &OutboundConfig, options: Option<RequestOptions>) -> Self {
        let RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout } =
            options.unwrap_or_default();
        // A slot, a lookup, TCP and TLS, each with a timeout of its own.
        let connect = 3 * config.connect_timeout + config.tls_timeout;
        let first_byte = config.first_byte_timeout;
        Self {
            connect: connect_timeout.map_or(connect, |wanted| wanted.min(connect)),
            first_byte: first_byte_timeout.map_or(first_byte, |wanted| wanted.min(first_byte)),
            between_bytes: between_bytes_timeout,
        }
    }
}

impl Interim {
    fn new(too_much: CancellationToken) -> Self {
        Self { answers: AtomicUsize::new(0), bytes: AtomicUsize::new(0), too_much }
    }

    fn came(&self, headers: &HeaderMap) {
        let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if answers > MAX_INTERIM || bytes > MAX_INTERIM_BYTES {
            self.too_much.cancel();
        }
    }
}

/// What a request under way comes to. Dropping it gives the request up.
pub(super) type Answer = oneshot::Receiver<Result<Sent, Error>>;

/// Sends the request, until `over`.
pub(super) fn send(
    grant: Arc<Grant>,
    request: Request<WasiBody>,
    h2c: bool,
    timeouts: Timeouts,
    over: CancellationToken,
    in_flight: InFlight,
) -> Answer {
    let (runtime, between_bytes) = (grant.runtime(), timeouts.between_bytes);
    let ask = move |request| async move { head(&grant, request, h2c, timeouts).await };
    let way = Way { over, between_bytes, in_flight, named: failure::of_body };
    on_its_way(&runtime, request, ask, way)
}

/// What a request goes with, whoever answers it.
pub(super) struct Way<B: Body> {
    /// Is cancelled when the invocation is over.
    pub(super) over: CancellationToken,
    pub(super) between_bytes: Option<Duration>,
    pub(super) in_flight: InFlight,
    /// What the guest is told of an error in the answer's body.
    pub(super) named: fn(&B::Error) -> Error,
}

/// Has `ask` send it, in a task of its own.
pub(super) fn on_its_way<A, F, B>(
    runtime: &Handle,
    request: Request<WasiBody>,
    ask: A,
    way: Way<B>,
) -> Answer
where
    A: FnOnce(Request<RequestBody>) -> F + Send + 'static,
    F: Future<Output = Result<Response<B>, Error>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (reply, answer) = oneshot::channel();
    runtime.spawn(run(request, ask, way, reply));
    answer
}

/// What it comes to.
pub(super) async fn answered(answer: Answer) -> Result<Sent, Error> {
    // Only the end of the invocation ends the task without an answer.
    answer.await.unwrap_or(Err(Error::HttpResponseTimeout))
}

async fn run<A, F, B>(
    request: Request<WasiBody>,
    ask: A,
    way: Way<B>,
    mut reply: oneshot::Sender<Result<Sent, Error>>,
) where
    A: FnOnce(Request<RequestBody>) -> F,
    F: Future<Output = Result<Response<B>, Error>>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let Way { over, between_bytes, in_flight, named } = way;
    let sent = CancellationToken::new();
    let (parts, body) = request.into_parts();
    let body = RequestBody::of(&parts, body, sent.clone());
    let request = Request::from_parts(parts, body);
    let answer = tokio::select! {
        biased;
        () = over.cancelled() => return,
        () = reply.closed() => return,
        answer = ask(request) => answer,
    };
    let (mut head, incoming) = match answer {
        Ok(response) => response.into_parts(),
        Err(error) => {
            // A guest that is gone needs no answer.
            drop(reply.send(Err(error)));
            return;
        }
    };
    headers::strip(&mut head.headers);
    let incoming = Arc::new(Mutex::new(Some((incoming, in_flight))));
    let done = CancellationToken::new();
    let answered =
        ResponseBody::new(Arc::clone(&incoming), named, over.clone(), done.clone(), between_bytes);
    let response = Response::from_parts(head, answered.boxed_unsync());
    let until_sent = async move {
        sent.cancelled().await;
        Ok(())
    };
    if reply.send(Ok((response, Box::new(until_sent)))).is_err() {
        return;
    }
    tokio::select! {
        () = over.cancelled() => {}
        () = done.cancelled() => {}
    }
    body::take(&incoming);
}

/// The answer's head, in time.
async fn head(
    grant: &Grant,
    mut request: Request<RequestBody>,
    h2c: bool,
    timeouts: Timeouts,
) -> Result<Response<Incoming>, Error> {
    let client: &Client = grant.client(h2c);
    let too_much = CancellationToken::new();
    let interim = Interim::new(too_much.clone());
    hyper::ext::on_informational(&mut request, move |answer| interim.came(answer.headers()));
    let mut connection = capture_connection(&mut request);
    let uri = request.uri().clone();
    let connected = async move { drop(connection.wait_for_connection_metadata().await) };
    let sending = client.request(request);
    tokio::pin!(sending);
    let answer = tokio::select! {
        biased;
        answer = &mut sending => Ok(answer),
        () = connected => tokio::select! {
            biased;
            answer = sending => Ok(answer),
            () = too_much.cancelled() => {
                grant.warn_once(&format!(
                    "a request to {uri} is given up: its peer sends interim answers (1xx) and no \
                     end of them; {MAX_INTERIM} and {MAX_INTERIM_BYTES} bytes of them are taken"
                ));
                Err(Error::HttpProtocolError)
            }
            () = sleep(timeouts.first_byte) => Err(Error::ConnectionReadTimeout),
        },
        () = sleep(timeouts.connect) => Err(Error::ConnectionTimeout),
    };
    answer?.map_err(|error| {
        match failure::prohibited(&error) {
            Some(why) => grant.tell_prohibited(&why),
            None if let Some(why) = failure::over_limit(&error) => grant.tell_over_limit(&why),
            None => {
                let (version, error) = (grant.version(), failure::in_words(&error));
                tracing::debug!(%version, %uri, error, "an outgoing request failed");
            }
        }
        failure::for_guest(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_only_shorten_timeouts() {
        let config = OutboundConfig::default();
        let hour = Some(Duration::from_secs(3600));
        let longer = RequestOptions {
            connect_timeout: hour,
            first_byte_timeout: hour,
            between_bytes_timeout: None,
        };
        assert_eq!(Timeouts::new(&config, Some(longer)), Timeouts::new(&config, None));
        let millisecond = Some(Duration::from_millis(1));
        let shorter = RequestOptions {
            connect_timeout: millisecond,
            first_byte_timeout: millisecond,
            between_bytes_timeout: millisecond,
        };
        let timeouts = Timeouts::new(&config, Some(shorter));
        assert_eq!((Some(timeouts.connect), Some(timeouts.first_byte)), (millisecond, millisecond));
    }
}
