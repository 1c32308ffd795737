//! Outgoing HTTP requests, `wasi:http` 0.2 and 0.3 alike: what the version may
//! send, what its transaction lets out, and then the host's client.

use std::future::Future;
use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::outbound::{Grant, Granted, Lasting, Sent};
use crate::runtime::account::{Account, Leaving};
use crate::runtime::calls::{Lineage, MAX_DEPTH};
use crate::runtime::exchange::Exchange;
use crate::runtime::neighbours::{Addressed, NeighboursCell};
use crate::runtime::outside::{Departure, Withheld};
use crate::runtime::trace::TRACEPARENT;

/// How many writes of a guest's body the host takes before anyone reads them.
const BODY_BUFFER_CHUNKS: usize = 4;

/// How large one of those writes may be.
const BODY_CHUNK_BYTES: usize = 256 << 10;

/// draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a header is not a guest's to read or write: one of the library's, which are looked
/// through for each that a guest has.
fn is_forbidden(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Sends an instance's requests.
pub(in crate::runtime) struct OutboundHooks {
    grant: Arc<Grant>,
    neighbours: NeighboursCell,
    account: Arc<Account>,
    /// The current invocation; `None` between invocations.
    exchange: Option<Exchange>,
    /// The trace that it is part of, if it is part of one.
    trace: Option<String>,
}

impl OutboundHooks {
    pub(in crate::runtime) fn new(
        grant: Arc<Grant>,
        neighbours: NeighboursCell,
        account: Arc<Account>,
    ) -> Self {
        Self { grant, neighbours, account, exchange: None, trace: None }
    }

    /// The invocation that requests belong to from here on, and its trace.
    pub(in crate::runtime) fn enter(&mut self, exchange: Exchange, trace: Option<String>) {
        self.exchange = Some(exchange);
        self.trace = trace;
    }

    /// Requests belong to none.
    pub(in crate::runtime) fn leave(&mut self) {
        self.exchange = None;
        self.trace = None;
    }

    /// What a request has of its invocation that goes to a service, which has to be there.
    fn lineage(&self, granted: &Granted) -> Result<Option<Lineage>, Error> {
        let Some(service) = granted.service() else { return Ok(None) };
        let trace = self.trace.as_deref();
        let lineage = match &self.exchange {
            Some(exchange) => exchange.lineage_by_name(trace),
            None => Ok(None),
        };
        let Ok(lineage) = lineage else {
            return Err(self.grant.tell_too_deep(service, MAX_DEPTH));
        };
        if !self.neighbours.get().is_some_and(|neighbours| neighbours.has(service)) {
            return Err(self.grant.tell_not_deployed(service));
        }
        Ok(lineage)
    }

    /// A service of the host goes on with the trace of who asks it.
    fn trace(&self, granted: &Granted, headers: &mut HeaderMap) {
        if granted.service().is_some()
            && let Some(trace) = &self.trace
            && !headers.contains_key(TRACEPARENT)
        {
            let trace = HeaderValue::try_from(trace).expect("it was one");
            headers.insert(TRACEPARENT, trace);
        }
    }

    fn begin(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<impl Future<Output = Result<Sent, Error>> + Send + use<>, Error> {
        // Whatever becomes of the request, what its guest still writes is taken: it is to see
        // that, and not that its body was dropped.
        let mut request =
            request.map(|body| Lasting::new(Leaving::body(body, &self.account)).boxed_unsync());
        let granted = self.grant.check(request.method(), request.uri())?;
        let lineage = self.lineage(&granted)?;
        self.trace(&granted, request.headers_mut());
        // What was answered with may still be on its way to the disk.
        let waits = self.exchange.as_ref().filter(|exchange| exchange.is_committing()).cloned();
        // Last, because from here on the invocation counts as one that was noticed.
        let at_once = match &waits {
            Some(_) => None,
            None => Some(depart(self.exchange.as_ref(), &self.grant, &request)?),
        };
        let (grant, account) = (Arc::clone(&self.grant), Arc::clone(&self.account));
        let neighbours = Arc::clone(&self.neighbours);
        Ok(async move {
            let departure = match at_once {
                Some(departure) => departure,
                None => {
                    if let Some(exchange) = &waits {
                        exchange.committed().await;
                    }
                    depart(waits.as_ref(), &grant, &request)?
                }
            };
            let Departure { idempotency_key, over } = departure;
            let headers = request.headers_mut();
            if let Some(key) = idempotency_key
                && !headers.contains_key(IDEMPOTENCY_KEY)
            {
                let key =
                    HeaderValue::try_from(key).expect("a UUID and a number are visible ASCII");
                headers.insert(IDEMPOTENCY_KEY, key);
            }
            let caller = grant.version().clone();
            let answer = move |service, request| async move {
                let found = neighbours.get().zip(lineage);
                let (neighbours, lineage) = found.ok_or(Error::DestinationNotFound)?;
                neighbours.answer(Addressed { service, request, caller, lineage }).await
            };
            let (response, io) = grant.send(granted, request, options, over, answer)?.await?;
            Ok((account.arrive(response), io))
        })
    }
}

fn depart(
    exchange: Option<&Exchange>,
    grant: &Grant,
    request: &http::Request<WasiBody>,
) -> Result<Departure, Error> {
    let exchange = exchange.ok_or(Withheld::NoInvocation);
    let (method, target) = (request.method(), request.uri().to_string());
    exchange.and_then(|exchange| exchange.depart(method, &target)).map_err(|withheld| {
        let message = withheld.to_string();
        grant.warn_once(&message);
        Error::InternalError(Some(message))
    })
}

impl WasiHttpHooks for OutboundHooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name.as_str())
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        // What the guest makes of the answer is of no use to the peer.
        _received: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let begun = self.begin(request, options);
        Box::new(async move { begun?.await })
    }

    /// The client sets it, from the origin that was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_BUFFER_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

    use super::*;

    #[test]
    fn the_librarys_forbidden_headers_are_forbidden() {
        assert_eq!(DEFAULT_FORBIDDEN_HEADERS.len(), 9);
        assert!(DEFAULT_FORBIDDEN_HEADERS.iter().all(|name| is_forbidden(name.as_str())));
        assert!(!is_forbidden("x-host"));
    }
}
