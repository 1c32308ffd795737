//! What one version may send, checked before anything else is done.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, Uri};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::asker::{Asker, Client};
use super::request::{self, Sent, Timeouts};
use super::{Outbound, by_name, headers};
use crate::escape::cut;
use crate::manifest::{Manifest, Origin};
use crate::name::{ServiceName, VersionId};
use crate::tally::Tally;

/// How many different refusals of one version are logged.
const MAX_TOLD: usize = 100;

/// Bytes of a warning, and of the name of a host in it.
const MAX_TOLD_BYTES: usize = 2 << 10;
const MAX_NAME: usize = 300;

/// One version's right to send requests.
pub(crate) struct Grant {
    outbound: Outbound,
    version: VersionId,
    pub(super) manifest: Arc<Manifest>,
    /// The service, all its versions together.
    asker: Arc<Asker>,
    told: Mutex<HashSet<String>>,
    pub(super) requests: Tally,
}

/// One request under way.
pub(crate) struct InFlight {
    counter: Arc<AtomicUsize>,
}

/// A request that may be sent.
pub(crate) struct Granted {
    to: To,
    in_flight: InFlight,
}

/// Whom it goes to.
enum To {
    Origin {
        origin: Origin,
        h2c: bool,
    },
    /// Another service of the host, or the same.
    Service {
        name: ServiceName,
        origin: Origin,
    },
}

impl Granted {
    /// The service that it goes to, where it leaves by no network.
    pub(crate) fn service(&self) -> Option<&ServiceName> {
        match &self.to {
            To::Origin { .. } => None,
            To::Service { name, .. } => Some(name),
        }
    }
}

impl Grant {
    pub(super) fn new(
        outbound: Outbound,
        version: VersionId,
        manifest: Arc<Manifest>,
        asker: Arc<Asker>,
    ) -> Self {
        Self {
            outbound,
            version,
            manifest,
            asker,
            told: Mutex::default(),
            requests: Tally::default(),
        }
    }

    /// Whether the version may send anything at all.
    pub(crate) fn grants_any(&self) -> bool {
        let capabilities = &self.manifest.capabilities;
        !capabilities.outbound.is_empty() || !capabilities.calls.is_empty()
    }

    /// Checks where a request goes, by the manifest, and how many there are.
    ///
    /// # Errors
    /// `HTTP-request-denied` where the manifest doesn't name the origin or the service, and
    /// `connection-limit-reached`.
    pub(crate) fn check(&self, method: &Method, uri: &Uri) -> Result<Granted, Error> {
        // It would make the peer a proxy to anywhere.
        if method == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let checked = self.check_target(uri).and_then(|to| {
            let in_flight = self.begin().ok_or_else(|| {
                self.requests.note("over-limit");
                self.warn_once(&format!(
                    "outgoing requests are refused: {} are under way (`[limits] outbound-requests`)",
                    self.manifest.limits.outbound_requests
                ));
                Error::ConnectionLimitReached
            })?;
            Ok(Granted { to, in_flight })
        });
        if matches!(checked, Err(Error::HttpRequestDenied)) {
            self.requests.note("denied");
        }
        checked
    }

    fn check_target(&self, uri: &Uri) -> Result<To, Error> {
        let origin = match Origin::of(uri) {
            Ok(origin) => origin,
            Err(error) => {
                let authority = uri.authority().map_or("", http::uri::Authority::as_str);
                // A user's name may come with a password.
                let host = authority.rsplit('@').next().unwrap_or_default();
                let host = cut(host, MAX_NAME);
                self.warn_once(&format!("a request to `{host}` is denied: {error}"));
                return Err(Error::HttpRequestDenied);
            }
        };
        if let Some(name) = origin.neighbour() {
            let name = self.check_service(&origin, name)?;
            return Ok(To::Service { name, origin });
        }
        let mut patterns = self.manifest.capabilities.outbound.iter();
        let Some(pattern) = patterns.find(|pattern| pattern.grants(&origin)) else {
            let origin = cut(&origin, MAX_NAME);
            self.warn_once(&format!(
                "a request to {origin} is denied: write `outbound = [\"{origin}\"]` under \
                 `[capabilities]` in the manifest to grant it"
            ));
            return Err(Error::HttpRequestDenied);
        };
        let h2c = pattern.is_h2c();
        Ok(To::Origin { origin, h2c })
    }

    /// How often a request was sent, and not, and why.
    pub(crate) fn requests(&self) -> &Tally {
        &self.requests
    }

    /// Sends it, until `over`; redirects are the guest's to follow, request by
    /// request. One that goes to a service has `neighbours` answer it.
    pub(crate) fn send<N, F>(
        self: &Arc<Self>,
        granted: Granted,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        over: CancellationToken,
        neighbours: N,
    ) -> Result<impl Future<Output = Result<Sent, Error>> + Send + use<N, F>, Error>
    where
        N: FnOnce(ServiceName, Request<WasiBody>) -> F + Send + 'static,
        F: Future<Output = Result<Response<WasiBody>, Error>> + Send + 'static,
    {
        let Granted { to, in_flight } = granted;
        headers::strip(request.headers_mut());
        let (To::Origin { origin, .. } | To::Service { origin, .. }) = &to;
        *request.uri_mut() = target(origin, request.uri())?;
        let answer = match to {
            To::Origin { h2c, .. } => {
                self.requests.note("sent");
                let timeouts = Timeouts::new(self.outbound.config(), options);
                request::send(Arc::clone(self), request, h2c, timeouts, over, in_flight)
            }
            To::Service { name, .. } => {
                self.requests.note("sent-by-name");
                let ask = |request| neighbours(name, request);
                by_name::send(&self.runtime(), request, options, over, in_flight, ask)
            }
        };
        Ok(request::answered(answer))
    }

    /// Where requests run, whoever sends them: a connection outlives its request.
    pub(super) fn runtime(&self) -> Handle {
        self.outbound.inner.runtime.clone().unwrap_or_else(Handle::current)
    }

    pub(super) fn client(&self, h2c: bool) -> &Client {
        self.asker.client(h2c)
    }

    /// Who sends them.
    pub(crate) fn version(&self) -> &VersionId {
        &self.version
    }

    /// Says that the address rule refused a connection.
    pub(super) fn tell_prohibited(&self, why: &str) {
        self.requests.note("address-denied");
        self.warn_once(&format!(
            "a request is denied: {why}; the operator can open the network: \
             `[outbound] allow-private` in hotdock.toml, or --outbound-allow-private"
        ));
    }

    /// Says that there are too many connections.
    pub(super) fn tell_over_limit(&self, why: &str) {
        self.requests.note("over-limit");
        self.warn_once(&format!("an outgoing request is refused: {why}"));
    }

    /// Logs what a service's author has to change; each message once a version.
    pub(crate) fn warn_once(&self, message: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let message = cut(message, MAX_TOLD_BYTES);
        if told.len() < MAX_TOLD && told.insert(message.clone()) {
            let VersionId { service, number } = &self.version;
            tracing::warn!(%service, version = number, "{message}");
        }
    }

    fn begin(&self) -> Option<InFlight> {
        let limit = self.manifest.limits.outbound_requests;
        let more = |count: usize| (count < limit).then_some(count + 1);
        let counter = &self.asker.in_flight;
        counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(InFlight { counter: Arc::clone(counter) })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The URI with the origin as it was checked, so that no other spelling of it
/// reaches the pool, the resolver or the peer.
fn target(origin: &Origin, uri: &Uri) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    Uri::builder()
        .scheme(if origin.is_https() { "https" } else { "http" })
        .authority(origin.authority())
        .path_and_query(path)
        .build()
        .map_err(|_| Error::HttpRequestUriInvalid)
}
