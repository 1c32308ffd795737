//! Interfaces of other services: each function that a component imports of them is a call.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::component::{Linker, LinkerInstance};

use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::runtime::account::{outside, outside_async};
use crate::runtime::calls::{Asked, CallWithheld, CalleesCell, NotReturned, Wanted};
use crate::runtime::exchange::{Departing, Exchange};
use crate::runtime::functions::Interface;
use crate::runtime::instance::InstanceState;
use crate::runtime::output::LogBudget;
use crate::runtime::values::{self, flat};

/// A call came to nothing, and its function's type has no way to say so: ends the caller.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CallFailed(String);

/// A function as it is linked.
struct Link {
    wanted: Arc<Wanted>,
    callees: CalleesCell,
}

/// A call whose guest is not looked at until it has a result.
struct Begun {
    exchange: Exchange,
    log: Arc<LogBudget>,
    caller: VersionId,
    manifest: Arc<Manifest>,
    trace: Option<String>,
    arguments: Bytes,
}

/// Links each function of these interfaces.
pub(in crate::runtime) fn link(
    linker: &mut Linker<InstanceState>,
    used: &[Interface],
    callees: &CalleesCell,
) -> wasmtime::Result<()> {
    for interface in used {
        let mut instance = linker.instance(&interface.name)?;
        for (name, signature) in &interface.functions {
            let wanted = Arc::new(Wanted::new(interface, name, signature));
            let link = Arc::new(Link { wanted, callees: Arc::clone(callees) });
            link.add_to(&mut instance)?;
        }
    }
    Ok(())
}

impl Link {
    fn add_to(
        self: Arc<Self>,
        instance: &mut LinkerInstance<'_, InstanceState>,
    ) -> wasmtime::Result<()> {
        let wanted = Arc::clone(&self.wanted);
        let callee = move |state: &mut InstanceState, arguments| -> flat::Calling {
            let this = Arc::clone(&self);
            let begun = this.begin(state, arguments);
            Box::pin(async move { this.end(begun?).await })
        };
        flat::link(instance, &wanted.function, &wanted.signature, Arc::new(callee))
    }

    fn begin(&self, state: &InstanceState, arguments: Vec<u8>) -> wasmtime::Result<Begun> {
        // They are on its account until they leave.
        state.account.check()?;
        // No larger than what is taken off the account.
        let arguments = state.account.leave(arguments.into_boxed_slice().into());
        let exchange = state.exchange.clone().ok_or(CallWithheld::NoInvocation)?;
        Ok(Begun {
            exchange,
            log: Arc::clone(&state.log_budget),
            caller: state.version.clone(),
            manifest: Arc::clone(&state.manifest),
            trace: outside(|| state.trace.clone()),
            arguments,
        })
    }

    /// The result, which is on no guest's account.
    async fn end(&self, begun: Begun) -> wasmtime::Result<Bytes> {
        let (caller, log) = (begun.caller.clone(), Arc::clone(&begun.log));
        match outside_async(self.call(begun)).await {
            Ok(result) => Ok(result),
            Err(failed) => outside(|| self.not_returned(&caller, &log, failed)),
        }
    }

    /// The result that says so, where the function has one.
    fn not_returned(
        &self,
        caller: &VersionId,
        log: &LogBudget,
        failed: NotReturned,
    ) -> wasmtime::Result<Bytes> {
        let Wanted { interface, function, signature, .. } = &*self.wanted;
        let NotReturned { callee, words, detail, .. } = failed;
        let by = callee
            .as_ref()
            .map_or_else(|| "another service".to_owned(), |callee| format!("service {callee}"));
        let words = format!("{interface} {function} of {by}: {words}");
        let callee = callee.as_ref().map(|callee| callee.as_str());
        let (service, version) = (&caller.service, caller.number);
        let why = detail.as_ref().unwrap_or(&words);
        // Its caller may call as often as it likes.
        if log.spend(why.len(), caller) {
            tracing::warn!(%service, version, callee, interface, function, "a call failed: {why}");
        }
        match values::unavailable(signature, &words) {
            Some(result) => Ok(result.into()),
            None => Err(CallFailed(format!("its call of {words}")).into()),
        }
    }

    /// What the call comes to, or came to in an earlier run.
    async fn call(&self, begun: Begun) -> Result<Bytes, NotReturned> {
        let Begun { exchange, manifest, trace, arguments, .. } = begun;
        let (departure, numbered) = loop {
            match exchange.depart_to_call(&self.wanted, &arguments, trace.as_deref())? {
                Departing::Known(result) => return Ok(result),
                Departing::GoesOn(ended) => ended.cancelled().await,
                Departing::Call(departure, numbered) => break (departure, numbered),
            }
        };
        let Some(callees) = self.callees.get() else {
            return Err(NotReturned::before("this host runs no calls".to_owned()));
        };
        // Where the guest gives the call up, or is over, so is the callee.
        let _given_up = departure.over.clone().drop_guard();
        let wanted = Arc::clone(&self.wanted);
        let deadline = departure.terms.lineage.deadline;
        let asked = Asked { manifest, wanted, arguments, departure };
        let returned = callees.call(asked).await;
        if let (Err(_), Some(numbered)) = (&returned, numbered) {
            exchange.note_failed(numbered);
        }
        let signature = &self.wanted.signature;
        if returned.is_err()
            && Instant::now() >= deadline
            && values::unavailable(signature, "").is_none()
        {
            // Both are over at once: the guest is ended for that, and not for a trap.
            return pending().await;
        }
        returned.map(|returned| returned.result)
    }
}

impl From<CallWithheld> for NotReturned {
    fn from(withheld: CallWithheld) -> Self {
        Self::before(withheld.to_string())
    }
}
