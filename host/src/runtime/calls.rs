//! A call from one service to another, as it leaves its caller: what is called, by whom, until
//! when, and under which identity. Who runs it is not known here: [`Callees`] is what the
//! runtime asks.

mod remembered;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::functions::{Interface, Signature, semver_key};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::name::ServiceName;

pub(super) use remembered::{Known, Past, Remembered};
pub(crate) use remembered::{Left, Outcome};

/// Calls within calls, the first one counted.
pub(crate) const MAX_DEPTH: u8 = 16;

/// Runs calls: finds the service, waits for its turn, runs it and waits until what it wrote is
/// on disk.
pub(crate) trait Callees: Send + Sync {
    /// What the call comes to. It goes on where this is dropped, until its lineage's end.
    fn call(&self, asked: Asked) -> Calling;
}

/// A call under way.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Result<Returned, NotReturned>> + Send>>;

/// Who runs the calls of a runtime's guests; nobody until somebody is named.
pub(super) type CalleesCell = Arc<OnceLock<Arc<dyn Callees>>>;

/// A function of another service's that a component imports.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// `shop:cart/carts@1.0.0`
    pub(crate) interface: String,
    /// The function's name.
    pub(crate) function: String,
    /// Its type.
    pub(crate) signature: Signature,
    /// What two functions have in common whose types are the same.
    pub(crate) print: Digest,
}

/// A call that is to be run.
pub(crate) struct Asked {
    /// Of the version that calls: what it may call.
    pub(crate) manifest: Arc<Manifest>,
    /// What it calls.
    pub(crate) wanted: Arc<Wanted>,
    /// Its arguments, as `values` writes them.
    pub(crate) arguments: Bytes,
    /// Where it comes from.
    pub(crate) departure: CallDeparture,
}

/// A call's share in the invocation that makes it.
pub(crate) struct CallDeparture {
    /// On what terms it is run.
    pub(crate) terms: Terms,
    /// Is cancelled when the caller is over.
    pub(crate) over: CancellationToken,
    /// Is told what it came to.
    pub(crate) left: Left,
}

/// On what terms a call is run.
#[derive(Clone)]
pub(crate) struct Terms {
    /// What it has of its caller.
    pub(crate) lineage: Lineage,
    /// Under what the callee keeps the result, where the caller can be repeated.
    pub(crate) id: Option<Digest>,
    /// Whether the callee may not write: what its caller wrote could still be undone.
    pub(crate) is_read_only: bool,
}

/// What an invocation has of the one that it began with, and hands on to those that it calls.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    /// When its time is over.
    pub(crate) deadline: Instant,
    /// How many calls it is in.
    pub(crate) depth: u8,
    /// The trace that it is part of, if it is part of one.
    pub(crate) trace: Option<Box<str>>,
    /// Its place in the traffic.
    pub(crate) place: Place,
    /// The invocations that wait for it, the next first.
    pub(crate) waiting: Option<Arc<Waiting>>,
}

/// An invocation that waits for those that it calls, and holds a permit of its service meanwhile.
#[derive(Debug)]
pub(crate) struct Waiting {
    service: ServiceName,
    /// Its permit, which those that come back to its service may run by, one at a time.
    permit: Arc<Semaphore>,
    before: Option<Arc<Waiting>>,
}

/// What decides which version of a service a call goes to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// That of a request, so that rules and stickiness choose as they do for its kind.
    Request {
        /// Its head.
        head: Arc<Parts>,
        /// The token of its client.
        token: Option<u64>,
        /// Its place among a hundred, where chance decides.
        point: u8,
    },
    /// That of a delivery: its partition key.
    Key(Arc<str>),
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    /// The result, as `values` writes it; of nothing where the function returns nothing.
    pub(crate) result: Bytes,
    /// Whether the callee may have written something.
    pub(crate) stands: bool,
    /// Whether it is what the same call had before; the callee did not run.
    pub(crate) is_kept: bool,
}

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct NotReturned {
    /// The service that was called, where that is known.
    pub(crate) callee: Option<ServiceName>,
    /// Why, for the caller.
    pub(crate) words: String,
    /// The same for the log, where the caller is not told all.
    pub(crate) detail: Option<String>,
    /// Whether something that it did may stand.
    pub(crate) stands: bool,
}

/// Why a call may not leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallWithheld {
    /// Others would wait for the callee.
    #[error(
        "no other service is called while the invocation holds its store's writer: call before \
         the first SQL write"
    )]
    Leased,
    /// What was answered may still be undone, and nobody would wait for the call.
    #[error("no other service is called after the answer: call before it")]
    Answered,
    /// A candidate must not be noticed.
    #[error("no other service is called while a candidate is asked for its health")]
    Probe,
    /// There is nothing that it belongs to.
    #[error("no other service is called outside an invocation")]
    NoInvocation,
    /// Each waits for the next.
    #[error("calls are {MAX_DEPTH} deep already, and no deeper: is there a circle?")]
    TooDeep,
}

impl Wanted {
    /// A function of an interface.
    pub(super) fn new(interface: &Interface, function: &str, signature: &Signature) -> Self {
        Self {
            interface: interface.name.clone(),
            function: function.to_owned(),
            signature: signature.clone(),
            print: print(signature),
        }
    }

    /// What versions of its interface have in common.
    pub(crate) fn key(&self) -> &str {
        semver_key(&self.interface)
    }
}

/// The same for functions of the same types, whether they are asynchronous or not.
pub(super) fn print(signature: &Signature) -> Digest {
    let Signature { params, result, is_async: _ } = signature;
    Digest::of(format!("{params:?} {result:?}").as_bytes())
}

impl NotReturned {
    /// It did not come to its callee.
    pub(crate) fn before(words: String) -> Self {
        Self { callee: None, words, detail: None, stands: false }
    }
}

impl Lineage {
    /// Of what begins with this invocation.
    pub(crate) fn first(deadline: Instant, place: Place) -> Self {
        Self { deadline, depth: 0, trace: None, place, waiting: None }
    }

    /// Of what an invocation of this service calls.
    pub(crate) fn through(self, service: &ServiceName) -> Self {
        let (service, before) = (service.clone(), self.waiting);
        let waiting = Waiting { service, permit: Arc::new(Semaphore::new(1)), before };
        Self { waiting: Some(Arc::new(waiting)), ..self }
    }

    /// The permit of this service that an invocation holds which waits for this one: all of
    /// them may be held so, and none would ever be free.
    pub(crate) fn permit_of(&self, service: &ServiceName) -> Option<Arc<Semaphore>> {
        let mut next = self.waiting.as_ref();
        while let Some(waiting) = next {
            if waiting.service == *service {
                return Some(Arc::clone(&waiting.permit));
            }
            next = waiting.before.as_ref();
        }
        None
    }
}
