//! A call of a function that a component exports, by another service.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::Instance;

use super::account::{Account, outside};
use super::calls::Wanted;
use super::component::Program;
use super::exchange::{Exchange, Given};
use super::instance::InstanceState;
use super::values::{self, flat};

/// What a function is called with.
pub(crate) struct FunctionCall {
    /// Which function.
    pub(crate) wanted: Arc<Wanted>,
    /// As `values` writes them.
    pub(crate) arguments: Bytes,
    /// The trace that the call is part of, if it is part of one.
    pub(crate) trace: Option<String>,
}

/// Calls the function and hands its result over.
pub(super) async fn call(
    store: &mut Store<InstanceState>,
    program: &Program,
    instance: &Instance,
    call: Box<FunctionCall>,
    exchange: &Exchange,
    account: &Arc<Account>,
) -> wasmtime::Result<()> {
    // None of it is the guest's.
    let FunctionCall { wanted, arguments, trace } = outside(|| *call);
    outside(|| drop(trace));
    let (interface, name) = (&wanted.interface, &wanted.function);
    let failed = |why: String| wasmtime::Error::msg(format!("{interface} {name}: {why}"));
    let entry = program.function(&wanted);
    let entry = entry.ok_or_else(|| failed("the component has no such function".to_owned()))?;
    let signature = &entry.signature;
    let function = entry.load(store, instance);
    let function = function.ok_or_else(|| failed("it is not in the instance".to_owned()))?;
    let answer = |result: Vec<u8>| {
        account.check()?;
        let is_err = values::is_err(signature, &result);
        exchange.answer(Given::Returned {
            result: account.leave(result.into_boxed_slice().into()),
            is_err,
        });
        wasmtime::Result::Ok(())
    };
    if !signature.is_async {
        return answer(flat::call(function, store, entry.slots, arguments).await?);
    }
    store
        .run_concurrent(async |accessor| {
            answer(flat::call_concurrent(function, accessor, entry.slots, arguments).await?)?;
            // What it left behind to be done.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
