//! Interfaces of other services: each function that a component imports of them is a call.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::component::{Linker, LinkerInstance, Val};

use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::runtime::account::{Account, outside, outside_async};
use crate::runtime::calls::{Asked, CallWithheld, CalleesCell, NotReturned, Wanted};
use crate::runtime::exchange::{Departing, Exchange};
use crate::runtime::functions::Interface;
use crate::runtime::instance::InstanceState;
use crate::runtime::output::LogBudget;
use crate::runtime::values::{self, Invalid};

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
    account: Arc<Account>,
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
    /// What is typed as asynchronous is linked so, and nothing else: the engine asks for that.
    fn add_to(
        self: Arc<Self>,
        instance: &mut LinkerInstance<'_, InstanceState>,
    ) -> wasmtime::Result<()> {
        let name = self.wanted.function.clone();
        if self.wanted.signature.is_async {
            return instance.func_new_concurrent(&name, move |accessor, _, arguments, results| {
                let this = Arc::clone(&self);
                Box::pin(async move {
                    let begun =
                        accessor.with(|mut access| this.begin(access.data_mut(), arguments));
                    this.end(begun?, results).await
                })
            });
        }
        instance.func_new_async(&name, move |store, _, arguments, results| {
            let this = Arc::clone(&self);
            Box::new(async move {
                let begun = this.begin(store.data(), arguments)?;
                this.end(begun, results).await
            })
        })
    }

    fn begin(&self, state: &InstanceState, arguments: &[Val]) -> wasmtime::Result<Begun> {
        let arguments = values::write_arguments(&self.wanted.signature, arguments);
        let arguments = arguments.map_err(|invalid| self.invalid(invalid))?;
        // They are on its account until they leave.
        state.account.check()?;
        // No larger than what is taken off the account.
        let arguments = state.account.leave(arguments.into_boxed_slice().into());
        let exchange = state.exchange.clone().ok_or(CallWithheld::NoInvocation)?;
        Ok(Begun {
            exchange,
            account: Arc::clone(&state.account),
            log: Arc::clone(&state.log_budget),
            caller: state.version.clone(),
            manifest: Arc::clone(&state.manifest),
            trace: outside(|| state.trace.clone()),
            arguments,
        })
    }

    async fn end(&self, begun: Begun, results: &mut [Val]) -> wasmtime::Result<()> {
        let (account, log) = (Arc::clone(&begun.account), Arc::clone(&begun.log));
        let caller = begun.caller.clone();
        let returned = outside_async(self.call(begun)).await;
        match returned {
            Ok(result) => {
                let value = values::read_result(&self.wanted.signature, &result);
                outside(|| drop(result));
                let value = value.map_err(|invalid| self.invalid(invalid))?;
                account.check()?;
                if let (Some(value), Some(place)) = (value, results.first_mut()) {
                    *place = value;
                }
                Ok(())
            }
            Err(failed) => {
                let Wanted { interface, function, signature, .. } = &*self.wanted;
                let NotReturned { callee, words, detail, .. } = failed;
                let by = callee.as_ref().map_or_else(
                    || "another service".to_owned(),
                    |callee| format!("service {callee}"),
                );
                let words = format!("{interface} {function} of {by}: {words}");
                outside(|| {
                    let callee = callee.as_ref().map(|callee| callee.as_str());
                    let (service, version) = (&caller.service, caller.number);
                    let why = detail.as_ref().unwrap_or(&words);
                    // Its caller may call as often as it likes.
                    if log.spend(why.len(), &caller) {
                        tracing::warn!(
                            %service, version, callee, interface, function, "a call failed: {why}"
                        );
                    }
                });
                match (values::unavailable(signature, &words), results.first_mut()) {
                    (Some(value), Some(place)) => *place = value,
                    _ => return Err(CallFailed(format!("its call of {words}")).into()),
                }
                Ok(())
            }
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

    fn invalid(&self, invalid: Invalid) -> wasmtime::Error {
        let Wanted { interface, function, .. } = &*self.wanted;
        CallFailed(format!("its call of {interface} {function}: {invalid}")).into()
    }
}

impl From<CallWithheld> for NotReturned {
    fn from(withheld: CallWithheld) -> Self {
        Self::before(withheld.to_string())
    }
}
