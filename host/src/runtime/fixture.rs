//! Pools of a component that never runs, for tests.

use std::sync::Arc;

use super::{Pool, Runtime, Secrets, compile};
use crate::manifest::{Manifest, ManifestText};
use crate::name::VersionId;

const COMPONENT: &str = r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $out))
    (core module $m (func (export "handle") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $out))
        (canon lift (core func $i "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// Its manifest, read.
pub(crate) fn manifest(text: &str) -> Arc<Manifest> {
    let text = ManifestText { file: "cart.toml".to_owned(), text: text.to_owned() };
    Arc::new(Manifest::read("cart", Some(&text)).expect("a manifest"))
}

/// The pool of a version.
pub(crate) fn pool(runtime: &Runtime, id: VersionId, manifest: Arc<Manifest>) -> Pool {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let code = compile(&wat::parse_str(COMPONENT).expect("a component")).expect("code");
    std::fs::write(file.path(), code).expect("written");
    let component = runtime.load(file.path()).expect("a component");
    let program = runtime.link(&component).expect("a program");
    Pool::new(runtime, program, id, manifest, Secrets::default())
}
