//! Values between a guest's memory and their bytes, with nothing in between: each is copied once.
//!
//! Wasmtime lifts and lowers whatever implements its traits for that, and tells it the type as
//! the component has it. So a few types of our own ([`types`]) stand for all signatures: they walk
//! that type, out of a guest ([`lift`]) and into one ([`lower`]). The traits are no stable part of
//! Wasmtime, which is why its version is pinned.

mod layout;
mod lift;
mod lower;
mod slots;
mod types;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::{Accessor, Func, LinkerInstance};

pub(in crate::runtime) use slots::slots;
use types::{Arguments, Lifted, Lowered};

use super::Invalid;
use crate::runtime::functions::Signature;

/// What a linked function does: from the bytes of its arguments to those of its result, which are
/// on no guest's account.
pub(in crate::runtime) type Callee<T> = dyn Fn(&mut T, Vec<u8>) -> Calling + Send + Sync;

/// A call under way.
pub(in crate::runtime) type Calling = Pin<Box<dyn Future<Output = wasmtime::Result<Bytes>> + Send>>;

/// Makes something where the number of slots has to be a constant.
macro_rules! with_slots {
    ($slots:expr, $n:ident, $made:expr) => {
        with_slots!(@ $slots, $n, $made, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17)
    };
    (@ $slots:expr, $n:ident, $made:expr, $($number:literal)*) => {
        match $slots {
            $($number => {
                const $n: usize = $number;
                $made
            })*
            _ => Err(Invalid::Type.into()),
        }
    };
}

/// Calls a function whose result takes so many slots.
pub(in crate::runtime) async fn call<T: Send + 'static>(
    function: Func,
    store: &mut Store<T>,
    slots: usize,
    arguments: Bytes,
) -> wasmtime::Result<Vec<u8>> {
    let arguments = Arguments::new(arguments);
    with_slots!(slots, N, {
        let function = function.typed::<Arguments, Lifted<N>>(&*store)?;
        Ok(function.call_async(&mut *store, arguments).await?.0)
    })
}

/// The same of a function that is asynchronous.
pub(in crate::runtime) async fn call_concurrent<T: Send + 'static>(
    function: Func,
    accessor: &Accessor<T>,
    slots: usize,
    arguments: Bytes,
) -> wasmtime::Result<Vec<u8>> {
    let arguments = Arguments::new(arguments);
    with_slots!(slots, N, {
        let function = accessor.with(|access| function.typed::<Arguments, Lifted<N>>(access))?;
        Ok(function.call_concurrent(accessor, arguments).await?.0)
    })
}

/// Links a function of this type. What is typed as asynchronous is linked so, and nothing else:
/// the engine asks for that.
pub(in crate::runtime) fn link<T: Send + 'static>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    signature: &Signature,
    callee: Arc<Callee<T>>,
) -> wasmtime::Result<()> {
    let taken = slots(signature.params.iter().map(|(_, shape)| shape));
    let is_async = signature.is_async;
    match slots(&signature.result) {
        1 => with_slots!(taken, N, add::<T, N, 1>(instance, name, is_async, callee)),
        // There is none, or it is in memory.
        _ => with_slots!(taken, N, add::<T, N, 0>(instance, name, is_async, callee)),
    }
}

fn add<T: Send + 'static, const N: usize, const M: usize>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    is_async: bool,
    callee: Arc<Callee<T>>,
) -> wasmtime::Result<()> {
    if is_async {
        return instance.func_wrap_concurrent(name, move |accessor, arguments: Lifted<N>| {
            let callee = Arc::clone(&callee);
            Box::pin(async move {
                let calling = accessor.with(|mut access| callee(access.data_mut(), arguments.0));
                calling.await.map(Lowered::<M>::new)
            })
        });
    }
    instance.func_wrap_async(name, move |mut store, arguments: Lifted<N>| {
        let calling = callee(store.data_mut(), arguments.0);
        Box::new(async move { calling.await.map(Lowered::<M>::new) })
    })
}

#[cfg(test)]
mod tests;
