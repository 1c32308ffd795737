//! Connections of the public listener: each request on one is dispatched.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Common, Peer};
use super::dispatch::dispatch;
use super::request;
use super::uploads::Uploads;
use crate::config::HttpLimits;
use crate::events::receive::Intake;
use crate::listen::{Answering, Exchange, Listener, State, Streams, trim};
use crate::service::Registry;

/// Serves connections, with what all of them have in common.
pub struct Connections {
    builder: auto::Builder<Streams>,
    registry: Arc<Registry>,
    intake: Option<Intake>,
    common: Arc<Common>,
}

impl Connections {
    /// Connections within these limits, served by `builder`. Events from outside go to
    /// `intake`, where there is one.
    #[must_use]
    pub fn new(
        builder: auto::Builder<Streams>,
        limits: &HttpLimits,
        registry: Arc<Registry>,
        intake: Option<Intake>,
    ) -> Self {
        Self { builder, registry, intake, common: Arc::new(Common::new(limits)) }
    }

    /// Request bodies on them that take their time.
    #[must_use]
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.common.uploads
    }

    /// Serves all that `listener` takes, until `stop`; then those that it has, at most `drain`.
    /// Returns whether all of them finished.
    pub async fn serve_all(
        self,
        listener: Listener,
        stop: CancellationToken,
        drain: Duration,
    ) -> bool {
        let local = listener.local_addr();
        let serve = |stream, address: SocketAddr, state| {
            let trusted = self.common.trusts(address.ip());
            self.serve(stream, Peer { address, local, trusted }, state)
        };
        listener.serve(serve, stop, drain).await
    }

    /// Serves the peer at the other end of `stream`, until either of them ends it.
    pub fn serve<S>(
        &self,
        stream: S,
        peer: Peer,
        state: Arc<State>,
    ) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = Arc::new(Client::new(peer, Arc::clone(&self.common)));
        let (registry, intake) = (Arc::clone(&self.registry), self.intake.clone());
        let service = service_fn(move |mut request: http::Request<_>| {
            let exchange = Exchange::begin(&state, request.version());
            let (registry, intake) = (Arc::clone(&registry), intake.clone());
            let client = Arc::clone(&client);
            if request.version() >= Version::HTTP_2 {
                trim(request.headers_mut());
            }
            // Boxed: hyper moves it into the connection, and it has some kilobytes.
            Answering::new(Box::pin(async move {
                // The connection ends; its client asks again on another.
                if request.version() < Version::HTTP_2 && !client.may_ask().await {
                    return Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR));
                }
                // Its stream is reset: there is no telling what else of it is wrong.
                if request::is_malformed(&request) {
                    return Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR));
                }
                let response = dispatch(&registry, intake.as_ref(), request, &client).await;
                if let Some(taking) = response.body().taking() {
                    taking.goes_to(exchange.connection());
                }
                Ok(exchange.answers(response))
            }))
        });
        self.builder.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}
