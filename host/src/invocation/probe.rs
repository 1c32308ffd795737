//! Warming: a candidate's first instance and its health path, before any
//! traffic reaches it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::runtime::{Call, Exchange, Given, Occasion, ReplayBody, Running, Step, words};
use crate::service::Version;
use crate::state::{self, Budget, Migration, Store, Transaction};

/// How long a candidate may take to be instantiated and to answer its health path.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// How little a candidate's thread is preferred: less than those who serve, more
/// than the slow lane.
const NICENESS: i32 = 10;

/// How much of that it may compute while it is instantiated.
const INSTANTIATION_CPU: Duration = Duration::from_secs(2);

/// Why a candidate is not fit for traffic.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be instantiated.
    #[error("it could not be instantiated: {0}")]
    Instantiate(String),
    /// Its start functions compute for too long.
    #[error("it could not be instantiated: it computed for over {INSTANTIATION_CPU:?}")]
    OutOfCpu,
    /// There is no thread for it.
    #[error("a thread to warm it could not be started: {0}")]
    Thread(std::io::Error),
    /// Instantiation or the health path took too long.
    #[error("it was not ready within {PROBE_TIMEOUT:?}")]
    Timeout,
    /// The health path gave no answer.
    #[error("its health path {path} failed: {reason}")]
    Failed {
        /// `[deploy] health`.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The health path's answer was no success.
    #[error("its health path {path} answered {status}; a 2xx status is expected")]
    Unhealthy {
        /// `[deploy] health`.
        path: String,
        /// What it answered.
        status: StatusCode,
    },
}

/// Instantiates the version once and, if its manifest names a health path, asks
/// it, as it would be once these migrations, if there are some, are applied. What the handler
/// writes is always rolled back, and they are; its answer goes nowhere.
///
/// All of it runs on a thread of its own: what a candidate computes at its start
/// must not hold up those who serve, and those must not starve it, as they would
/// on the slow lane while they use all processors.
///
/// # Errors
/// When the version is not fit for traffic.
pub async fn probe(
    version: &Arc<Version>,
    store: &Arc<Store>,
    on_trial: &[Migration],
) -> Result<(), ProbeError> {
    let (mut reply, warmed) = oneshot::channel();
    let (version, store, on_trial) = (Arc::clone(version), Arc::clone(store), on_trial.to_vec());
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("warm".to_owned()).spawn(move || {
        // On Linux this is one thread's own.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(%error, "a candidate is warmed at the host's own priority");
        }
        let warmed = runtime.block_on(async {
            tokio::select! {
                warmed = timeout(PROBE_TIMEOUT, warm(&version, &store, &on_trial)) => {
                    Some(warmed.unwrap_or(Err(ProbeError::Timeout)))
                }
                () = reply.closed() => None,
            }
        });
        if let Some(warmed) = warmed {
            // Nobody waits any more when this fails.
            let _ = reply.send(warmed);
        }
    });
    thread.map_err(ProbeError::Thread)?;
    warmed.await.unwrap_or(Err(ProbeError::Timeout))
}

async fn warm(
    version: &Arc<Version>,
    store: &Arc<Store>,
    on_trial: &[Migration],
) -> Result<(), ProbeError> {
    instantiate(version, store).await?;
    let Some(path) = version.manifest.deploy.health.clone() else { return Ok(()) };
    if on_trial.is_empty() {
        return ask(version, store.begin(), &path).await;
    }
    let asked = {
        let (version, path) = (Arc::clone(version), path.clone());
        store.on_trial(on_trial, move |transaction| async move {
            ask(&version, transaction, &path).await
        })
    };
    let failed = |error: state::Error| ProbeError::Failed { path, reason: error.to_string() };
    asked.await.map_err(failed)?
}

async fn instantiate(version: &Arc<Version>, store: &Arc<Store>) -> Result<(), ProbeError> {
    let exchange = Exchange::new(store.begin(), ReplayBody::empty(), Occasion::Probe);
    let mut running = Running::warm(&version.pool, exchange, &Budget::new(INSTANTIATION_CPU));
    running.stay(true);
    let Ok(ended) = poll_fn(|context| running.poll(context)).await else {
        return Err(ProbeError::OutOfCpu);
    };
    ended.keep(&version.pool).map_err(|error| ProbeError::Instantiate(words(&error)))
}

async fn ask(
    version: &Arc<Version>,
    mut transaction: Transaction,
    path: &str,
) -> Result<(), ProbeError> {
    let failed = |reason: String| ProbeError::Failed { path: path.to_owned(), reason };
    let host = version.manifest.routes.iter().find_map(|route| route.host.as_deref());
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("http://{}{path}", host.unwrap_or("localhost")))
        .body(())
        .map_err(|error| failed(error.to_string()))?;
    let limits = &version.manifest.limits;
    let budget = Budget::new(limits.cpu);
    transaction.count_against(&budget);
    let exchange = Exchange::new(transaction, ReplayBody::empty(), Occasion::Probe);
    let (head, ()) = request.into_parts();
    let call = Call::of_request(version.pool.servable(), &Arc::new(head));
    let mut running = Running::start(&version.pool, call, exchange, &budget);
    running.stay(true);
    let status = match running.until_answer().await {
        // The transaction is dropped with the answer: nothing of it stays.
        Step::Answered(_) => match running.exchange().take_answer().map(|answer| answer.given) {
            Some(Given::Response(response)) => response.map_err(failed)?.status(),
            Some(Given::Verdict(_) | Given::Returned { .. }) | None => {
                return Err(failed("it answered as to an event".to_owned()));
            }
        },
        Step::Ended(ended) => {
            let reason = match ended.result {
                Ok(()) => "it returned without an answer".to_owned(),
                Err(error) => words(&error),
            };
            return Err(failed(reason));
        }
        Step::OverBudget => return Err(failed(format!("it computed for over {:?}", limits.cpu))),
        Step::WantsLease(_) => {
            return Err(failed("it writes by SQL; a health path reads".to_owned()));
        }
        Step::BodyTooLarge => return Err(failed("it read a body that is not there".to_owned())),
    };
    if status.is_success() {
        Ok(())
    } else {
        Err(ProbeError::Unhealthy { path: path.to_owned(), status })
    }
}
