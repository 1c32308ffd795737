//! The listener: connections, their limits, and their end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Peer};
use super::dispatch::dispatch;
use crate::config::HttpLimits;
use crate::events::receive::Intake;
use crate::service::Registry;

/// How long to wait after the system refused a connection (no descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The public listener.
pub struct Listener {
    listener: TcpListener,
    local: SocketAddr,
    limits: HttpLimits,
    registry: Arc<Registry>,
    intake: Option<Intake>,
}

impl Listener {
    /// Binds the address. Events from outside go to `intake`, where there is one.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        limits: HttpLimits,
        registry: Arc<Registry>,
        intake: Option<Intake>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local, limits, registry, intake })
    }

    /// The address that it really has.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `stop`, then takes no more connections and lets those that
    /// it has finish their requests, at most `drain`. Returns whether all did.
    pub async fn serve(self, stop: CancellationToken, drain: Duration) -> bool {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.limits.max_connections));
        let builder = Arc::new(self.builder());
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = async { (place.await, self.listener.accept().await) } => accepted,
            };
            let (stream, address) = match accepted.1 {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = self.connection(&builder, stream, address);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _place = accepted.0;
                if let Err(error) = connection.await {
                    tracing::debug!(%address, "the connection ended: {error}");
                }
            });
        }
        drop(self.listener);
        tokio::time::timeout(drain, graceful.shutdown()).await.is_ok()
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read_timeout)
            .max_headers(self.limits.max_headers)
            .max_buf_size(self.limits.max_header_bytes)
            .half_close(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.max_concurrent_streams)
            .max_header_list_size(u32::try_from(self.limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(self.limits.keep_alive)
            .enable_connect_protocol();
        builder
    }

    #[expect(clippy::large_futures, reason = "boxed right here")]
    fn connection(
        &self,
        builder: &Arc<auto::Builder<TokioExecutor>>,
        stream: TcpStream,
        address: SocketAddr,
    ) -> impl hyper_util::server::graceful::GracefulConnection<
        Error = Box<dyn std::error::Error + Send + Sync>,
    > + Send
    + use<> {
        // A response goes out when it is ready, not when the next segment is full.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "TCP_NODELAY could not be set");
        }
        let trusted = self.limits.trusts(address.ip());
        let client = Arc::new(Client::new(Peer { address, local: self.local, trusted }));
        let (registry, intake) = (Arc::clone(&self.registry), self.intake.clone());
        let service = service_fn(move |request| {
            let (registry, intake) = (Arc::clone(&registry), intake.clone());
            let client = Arc::clone(&client);
            // Boxed: hyper moves it into the connection, and it has some kilobytes.
            Box::pin(async move {
                Ok::<_, Infallible>(dispatch(&registry, intake.as_ref(), request, &client).await)
            })
        });
        builder.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}
