//! Calls of one service by another: from the caller's guest to a result that is durable.
//!
//! A call is an invocation of its callee, with a permit, a lease and a transaction of its own.
//! It runs in a task of its own: an engine does not let one guest be polled inside the call of
//! another, and it has to know how it ends although its caller is gone.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::deadline::{self, Late};
use crate::invocation::{self, Called, Failure, Uncalled};
use crate::runtime::calls::{
    Asked, CallDeparture, Callees, Calling, Lineage, NotReturned, Outcome, Returned, Terms, Wanted,
};
use crate::service::{Kind, Outcome as Ended, Permit, Registry, Service, provider};

/// Runs calls on the services of a registry.
pub(crate) struct Calls {
    /// Weak: its versions hold what calls, and so this.
    registry: Weak<Registry>,
    tasks: Handle,
}

impl Calls {
    /// Of these services, in tasks of the runtime that this is called in.
    pub(crate) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: Arc::downgrade(registry), tasks: Handle::current() }
    }
}

impl Callees for Calls {
    fn call(&self, asked: Asked) -> Calling {
        let registry = self.registry.upgrade();
        let task = self.tasks.spawn(async move {
            let Some(registry) = registry else {
                return Err(NotReturned::before("the host ends".to_owned()));
            };
            run(&registry, asked).await
        });
        Box::pin(async move {
            task.await.unwrap_or_else(|error| {
                let words = format!("the host failed in it: {error}");
                Err(NotReturned { callee: None, words, detail: None, stands: true })
            })
        })
    }
}

/// Runs a call, and tells its caller's other runs what came of it.
async fn run(registry: &Registry, asked: Asked) -> Result<Returned, NotReturned> {
    let Asked { manifest, wanted, arguments, departure } = asked;
    let CallDeparture { terms, over, left } = departure;
    let snapshot = registry.load();
    let found = provider(&snapshot, &manifest, &wanted).cloned();
    drop(snapshot);
    let came_to = match found {
        Err(none) => Err(NotReturned::before(none.to_string())),
        Ok(service) => {
            let name = service.name.clone();
            let called = Request { wanted, arguments, terms };
            let came_to = call(registry, service, called, &over).await;
            came_to.map_err(|Uncalled { failure, stands }| {
                let (words, detail) = words(&failure);
                NotReturned { callee: Some(name), words, detail, stands }
            })
        }
    };
    match &came_to {
        Ok(returned) => left.ended(Outcome::Result(returned.result.clone()), returned.stands),
        Err(failed) => left.ended(Outcome::Nothing, failed.stands),
    }
    came_to
}

/// What is called, and on what terms.
struct Request {
    wanted: Arc<Wanted>,
    arguments: Bytes,
    terms: Terms,
}

/// Calls the version of the service that has the traffic.
async fn call(
    registry: &Registry,
    service: Arc<Service>,
    request: Request,
    over: &CancellationToken,
) -> Result<Returned, Uncalled> {
    let Request { wanted, arguments, terms } = request;
    let Terms { lineage, id, is_read_only } = terms;
    let count = service.metrics.begin(Kind::Call);
    let nothing_stands = |failure| Uncalled { failure, stands: false };
    let permit = match service.admission.try_admit() {
        Some(permit) => Ok(permit),
        None => admit(&service, &lineage, over).await,
    };
    // Only now: a version that was swapped out while this waited must not run it.
    let chosen = permit.and_then(|permit| {
        let chosen = registry.lease(&service.name, |traffic| {
            traffic.choose_for_call(&lineage.place, |version| version.serves(&wanted))
        });
        Ok((permit, chosen.ok_or(Failure::Drained)?))
    });
    let (permit, (service, lease)) = match chosen {
        Ok(chosen) => chosen,
        Err(failure) => {
            count.ended(failure.outcome());
            let meant = service.traffic.primary();
            meant.metrics.count_refused(Kind::Call, failure.outcome());
            return Err(nothing_stands(failure));
        }
    };
    let measure = lease.version().metrics.begin(Kind::Call);
    let (store, metrics) = (Arc::clone(&service.store), Arc::clone(&service.metrics));
    let called =
        Called { lease, permit, store, metrics, wanted, arguments, lineage, id, is_read_only };
    let returned = invocation::call(called, over).await;
    let returned = returned.map_err(|Uncalled { failure, stands }| Uncalled {
        failure: failure.named(&service.store),
        stands,
    });
    let outcome = match &returned {
        Ok(Returned { is_kept: true, .. }) => Ended::Replayed,
        Ok(_) => Ended::Answered,
        Err(uncalled) => uncalled.failure.outcome(),
    };
    count.ended(outcome);
    if outcome == Ended::ClientLeft {
        measure.says_nothing();
    } else {
        measure.ended(outcome, None);
    }
    returned
}

/// What a caller is told, and what else the log says: how a service failed is its own matter.
fn words(failure: &Failure) -> (String, Option<String>) {
    match failure {
        Failure::Trapped(_) | Failure::Panicked(_) | Failure::OverLimit { .. } => {
            ("it failed; the host's log says why".to_owned(), Some(failure.to_string()))
        }
        Failure::NoRoom(_) => ("the host has no room for it".to_owned(), Some(failure.to_string())),
        // What these say names the host's files.
        Failure::Store(_) | Failure::LogFull(_) => {
            ("its store failed; the host's log says why".to_owned(), Some(failure.to_string()))
        }
        Failure::Uncertain(_) => {
            let words = "whether what it wrote is on disk is not known".to_owned();
            (words, Some(failure.to_string()))
        }
        Failure::Partly(failed) => {
            let (words, detail) = words(failed);
            let words = format!("{words}, after it had committed something or told others");
            (words, detail.map(|_| failure.to_string()))
        }
        failure => (failure.to_string(), None),
    }
}

/// Waits until the call may run: no longer than its caller.
async fn admit(
    service: &Service,
    lineage: &Lineage,
    over: &CancellationToken,
) -> Result<Permit, Failure> {
    let time = lineage.deadline.saturating_duration_since(Instant::now());
    tokio::select! {
        biased;
        () = over.cancelled() => Err(Failure::CallerLeft),
        permit = Permit::lent(lineage.permit_of(&service.name)) => Ok(permit),
        admitted = deadline::by(lineage.deadline, service.admission.admit()) => match admitted {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(full)) => Err(Failure::QueueFull(full)),
            Err(Late) => Err(Failure::Deadline(time)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_not_told_what_its_callees_files_are_called() {
        let store = || Failure::Store("unable to open database file: /data/callee.db".to_owned());
        for failure in [store(), Failure::Partly(Box::new(store()))] {
            let (told, detail) = words(&failure);
            assert!(told.contains("its store failed") && !told.contains('/'), "{told}");
            assert!(detail.is_some_and(|detail| detail.contains("/data/callee.db")));
        }
    }
}
