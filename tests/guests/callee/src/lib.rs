//! Exports `test:calls` to other services: see `wit/calls.wit`. It takes neither requests nor
//! events.

mod values;
mod work;

struct Callee;

mod bindings {
    use super::Callee;

    wit_bindgen::generate!({ path: "wit", world: "callee" });

    export!(Callee);
}
