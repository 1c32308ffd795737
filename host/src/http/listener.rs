//! The listener: how many connections there are, and their end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::client::Peer;
use super::connection::Connections;
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
    connections: Connections,
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
        let connections = Connections::new(&limits, registry, intake);
        Ok(Self { listener, local, limits, connections })
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
            // A response goes out when it is ready, not when the next segment is full.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%address, %error, "TCP_NODELAY could not be set");
            }
            let trusted = self.limits.trusts(address.ip());
            let peer = Peer { address, local: self.local, trusted };
            let connection = graceful.watch(self.connections.serve(stream, peer));
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
}
