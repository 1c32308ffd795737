//! Bindings of the exports that are called, generated from `wit/`.

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

mod whole {
    wasmtime::component::bindgen!({
        path: "../wit/hotdock-http",
        world: "hotdock:http/service",
        ownership: Borrowing { duplicate_if_necessary: false },
        exports: { default: async },
    });
}

pub(super) use concurrent::{AsyncHandling, AsyncHandlingIndices};
pub(crate) use sync::hotdock::events::types;
pub(super) use sync::{Handling, HandlingIndices};
pub(super) use whole::exports::hotdock::http::handler as whole_requests;
pub(super) use whole::{Service as WholeService, ServiceIndices as WholeServiceIndices};
