//! Answers that have a head alone: to `HEAD`, and 204, 205 and 304. Their `Content-Length` says
//! what another answer would have (RFC 9110 §8.6), and is no promise of their own body, which a
//! guest may leave empty. Wasmtime's host takes it for one.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::HostOutgoingResponse as _;
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;

use super::super::answer::has_content;
use super::super::instance::InstanceState;

/// The package as Wasmtime has it. Another version would be one beside it, and of no effect.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Has such an answer's body be of any length.
pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[method]outgoing-response.body", body)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn body(
    mut store: StoreContextMut<'_, InstanceState>,
    (id,): (Resource<HostOutgoingResponse>,),
) -> wasmtime::Result<(Result<Resource<wasmtime_wasi_http::p2::body::HostOutgoingBody>, ()>,)> {
    let is_head = store.data().is_head;
    let mut view = store.data_mut().http();
    let response = view.table.get_mut(&id)?;
    if has_content(is_head, response.status) {
        return Ok((view.body(id)?,));
    }
    let place = id.rep();
    let headers = std::mem::take(&mut response.headers);
    let body = view.body(id);
    view.table.get_mut(&Resource::<HostOutgoingResponse>::new_borrow(place))?.headers = headers;
    Ok((body?,))
}
