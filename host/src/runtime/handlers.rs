//! Bindings of the exports that handle events, generated from `wit/`.

mod sync {
    wasmtime::component::bindgen!({
        path: "../wit/hotdock-events",
        world: "hotdock:events/handling",
        exports: { default: async },
    });
}

mod concurrent {
    wasmtime::component::bindgen!({
        path: "../wit/hotdock-events",
        world: "hotdock:events/async-handling",
        exports: { default: async | store },
        with: { "hotdock:events/types": super::sync::hotdock::events::types },
    });
}

pub(super) use concurrent::{AsyncHandling, AsyncHandlingIndices};
pub(super) use sync::hotdock::events::types;
pub(super) use sync::{Handling, HandlingIndices};
