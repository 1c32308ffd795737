//! A connection: reads requests from it, HTTP/1.1 or HTTP/2, within its limits, and
//! has each of them dispatched.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Client, Peer};
use super::dispatch::dispatch;
use super::forwarded::ForwardedHeader;
use crate::config::HttpLimits;
use crate::events::receive::Intake;
use crate::service::Registry;

/// Header lines that hyper takes by itself, and has room for on its stack.
const HYPERS_MAX_HEADERS: usize = 100;

/// What an HTTP/1 connection buffers of a body at the most, in each direction. A body that
/// comes in larger pieces takes fewer calls into the guest.
const BODY_BUFFER_BYTES: usize = 256 << 10;

/// Serves connections, with what all of them have in common.
pub struct Connections {
    builder: auto::Builder<TokioExecutor>,
    registry: Arc<Registry>,
    intake: Option<Intake>,
    told: Arc<[ForwardedHeader]>,
    max_header_bytes: usize,
}

impl Connections {
    /// Connections within these limits. Events from outside go to `intake`, where
    /// there is one.
    #[must_use]
    pub fn new(limits: &HttpLimits, registry: Arc<Registry>, intake: Option<Intake>) -> Self {
        Self {
            builder: builder(limits),
            registry,
            intake,
            told: limits.forwarded.clone(),
            max_header_bytes: limits.max_header_bytes,
        }
    }

    /// Serves the peer at the other end of `stream`, until either of them ends it.
    pub fn serve<S>(
        &self,
        stream: S,
        peer: Peer,
    ) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = Arc::new(Client::new(peer, Arc::clone(&self.told), self.max_header_bytes));
        let (registry, intake) = (Arc::clone(&self.registry), self.intake.clone());
        let service = service_fn(move |request| {
            let (registry, intake) = (Arc::clone(&registry), intake.clone());
            let client = Arc::clone(&client);
            // Boxed: hyper moves it into the connection, and it has some kilobytes.
            Box::pin(async move {
                Ok::<_, Infallible>(dispatch(&registry, intake.as_ref(), request, &client).await)
            })
        });
        self.builder.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}

fn builder(limits: &HttpLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        // A head that is larger than its own bound, but fits, is refused when it is there.
        .max_buf_size(limits.max_header_bytes.max(BODY_BUFFER_BYTES))
        .half_close(false);
    // Told a number, even this one, hyper allocates them anew for each request.
    if limits.max_headers != HYPERS_MAX_HEADERS {
        builder.http1().max_headers(limits.max_headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.keep_alive)
        .enable_connect_protocol();
    builder
}
