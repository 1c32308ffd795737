//! Calls of components, each of both sides by way of `Val` or without.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{Component, Func, Instance, Linker, Val};
use wasmtime::{Engine, Store};

use crate::runtime::compile::{Abi, compile_config};
use crate::runtime::functions::Signature;
use crate::runtime::values::codec::{read_arguments, read_result, write_arguments, write_result};
use crate::runtime::values::flat::{Callee, Calling, call, call_concurrent, link, slots};

/// A component, and the type of its `call`, which that of the `host` is as well that it may import.
pub(super) struct Crossing {
    component: Component,
    signature: Arc<Signature>,
}

/// Which sides are without `Val`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    import: bool,
    export: bool,
}

/// What was seen of a call.
pub(super) struct Crossed {
    /// The arguments that its import was called with.
    pub(super) heard: Vec<u8>,
    /// The result that it returned.
    pub(super) answered: Vec<u8>,
}

/// What the last import was called with.
type State = Vec<u8>;

impl Way {
    pub(super) const FLAT: Self = Self { import: true, export: true };

    pub(super) fn all() -> impl Iterator<Item = Self> {
        [(true, true), (true, false), (false, true), (false, false)]
            .into_iter()
            .map(|(import, export)| Self { import, export })
    }
}

/// The engine of services, with all types that Wasmtime knows.
pub(super) fn engine(abi: Abi) -> Engine {
    let mut config = compile_config(abi);
    config.wasm_component_model_map(true);
    config.wasm_component_model_fixed_length_lists(true);
    Engine::new(&config).expect("the settings are constant")
}

impl Crossing {
    pub(super) fn new(engine: &Engine, text: &str, signature: Signature) -> Self {
        let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let component = Component::new(engine, bytes);
        let component = component.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        Self { component, signature: Arc::new(signature) }
    }

    /// Calls it with these arguments; what it imports returns this result.
    pub(super) async fn cross(
        &self,
        way: Way,
        arguments: &[u8],
        result: &[u8],
    ) -> wasmtime::Result<Crossed> {
        let mut linker = Linker::new(self.component.engine());
        let result = Bytes::copy_from_slice(result);
        if way.import {
            self.link_flat(&mut linker, result)?;
        } else {
            self.link_by_val(&mut linker, result)?;
        }
        let (mut store, instance) = self.instantiate(&linker).await?;
        let answered = self.call(&mut store, &instance, way.export, arguments).await?;
        Ok(Crossed { heard: store.into_data(), answered })
    }

    async fn instantiate(
        &self,
        linker: &Linker<State>,
    ) -> wasmtime::Result<(Store<State>, Instance)> {
        let mut store = Store::new(self.component.engine(), State::new());
        store.set_epoch_deadline(1);
        let instance = linker.instantiate_async(&mut store, &self.component).await?;
        Ok((store, instance))
    }

    fn link_flat(&self, linker: &mut Linker<State>, result: Bytes) -> wasmtime::Result<()> {
        let callee = move |heard: &mut State, arguments: Vec<u8>| -> Calling {
            *heard = arguments;
            let result = result.clone();
            Box::pin(async move { Ok(result) })
        };
        let callee: Arc<Callee<State>> = Arc::new(callee);
        link(&mut linker.root(), "host", &self.signature, callee)
    }

    fn link_by_val(&self, linker: &mut Linker<State>, result: Bytes) -> wasmtime::Result<()> {
        let signature = Arc::clone(&self.signature);
        let answer = move |heard: &mut State, arguments: &[Val], results: &mut [Val]| {
            *heard = write_arguments(&signature, arguments)?;
            if let Some(value) = read_result(&signature, &result)? {
                results[0] = value;
            }
            wasmtime::Result::Ok(())
        };
        if !self.signature.is_async {
            return linker.root().func_new_async(
                "host",
                move |mut store, _, arguments, results| {
                    let answered = answer(store.data_mut(), arguments, results);
                    Box::new(async move { answered })
                },
            );
        }
        let answer = Arc::new(answer);
        linker.root().func_new_concurrent("host", move |accessor, _, arguments, results| {
            let answer = Arc::clone(&answer);
            Box::pin(async move {
                accessor.with(|mut access| answer(access.data_mut(), arguments, results))
            })
        })
    }

    async fn call(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        is_flat: bool,
        arguments: &[u8],
    ) -> wasmtime::Result<Vec<u8>> {
        let function = instance.get_func(&mut *store, "call").expect("it exports it");
        if !is_flat {
            return self.call_by_val(store, function, arguments).await;
        }
        let arguments = Bytes::copy_from_slice(arguments);
        let slots = slots(&self.signature.result);
        if !self.signature.is_async {
            return call(function, store, slots, arguments).await;
        }
        store
            .run_concurrent(async |accessor| {
                call_concurrent(function, accessor, slots, arguments).await
            })
            .await?
    }

    async fn call_by_val(
        &self,
        store: &mut Store<State>,
        function: Func,
        arguments: &[u8],
    ) -> wasmtime::Result<Vec<u8>> {
        let given = read_arguments(&self.signature, arguments)?;
        let mut results = vec![Val::Bool(false); usize::from(self.signature.result.is_some())];
        if self.signature.is_async {
            store
                .run_concurrent(async |accessor| {
                    function.call_concurrent(accessor, &given, &mut results).await
                })
                .await??;
        } else {
            function.call_async(store, &given, &mut results).await?;
        }
        Ok(write_result(&self.signature, &results)?)
    }
}

/// What it returns where it has so much fuel.
pub(super) async fn lift(
    crossing: &Crossing,
    is_flat: bool,
    fuel: usize,
) -> wasmtime::Result<Vec<u8>> {
    let linker = Linker::new(crossing.component.engine());
    let (mut store, instance) = crossing.instantiate(&linker).await?;
    store.set_hostcall_fuel(fuel);
    crossing.call(&mut store, &instance, is_flat, &[]).await
}

/// What it returns where these words are in its memory from 1024 on.
pub(super) async fn lift_poked(
    crossing: &Crossing,
    is_flat: bool,
    words: &[u32],
) -> wasmtime::Result<Vec<u8>> {
    let linker = Linker::new(crossing.component.engine());
    let (mut store, instance) = crossing.instantiate(&linker).await?;
    let poke = instance.get_typed_func::<(u32, u32), ()>(&mut store, "poke")?;
    for (at, word) in (1024..).step_by(4).zip(words) {
        poke.call_async(&mut store, (at, *word)).await?;
    }
    crossing.call(&mut store, &instance, is_flat, &[]).await
}
