//! A request from one service of the host to another, as it leaves its caller. Who answers it is
//! not known here: [`Neighbours`] is what the runtime asks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use http::{Request, Response};
use wasmtime_wasi_http::{Error, WasiBody};

use super::calls::Lineage;
use crate::name::{ServiceName, VersionId};

/// Answers requests that go to services by name.
pub(crate) trait Neighbours: Send + Sync {
    /// Whether there is such a service.
    fn has(&self, service: &ServiceName) -> bool;

    /// The answer, as the service's clients get it. Dropping the future, or its body, leaves
    /// the service as a client leaves it.
    fn answer(&self, addressed: Addressed) -> Answering;
}

/// A request under way to another service.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<WasiBody>, Error>> + Send>>;

/// Who answers the requests of a runtime's guests; nobody until somebody is named.
pub(super) type NeighboursCell = Arc<OnceLock<Arc<dyn Neighbours>>>;

/// A request that goes to a service.
pub(crate) struct Addressed {
    /// The service.
    pub(crate) service: ServiceName,
    /// The request; its URI has scheme and authority, and nothing in it is one connection's.
    pub(crate) request: Request<WasiBody>,
    /// The version that sends it.
    pub(crate) caller: VersionId,
    /// What it has of the invocation that it is sent in.
    pub(crate) lineage: Lineage,
}
