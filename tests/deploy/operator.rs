//! An operator at the admin listener.

use std::process::{Command, Output};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::harness::{Host, Reply, component, eventually};

/// Asks the admin listener.
pub async fn ask(host: &Host, method: Method, path: &str, body: Value) -> Reply {
    let request = Request::builder().method(method).uri(host.admin_url(path));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request =
        if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
    host.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await
}

/// Uploads a component with its manifest; the answer.
pub async fn upload(host: &Host, path: &str, component: &[u8], manifest: &str) -> Reply {
    host.send(form(host, path, component, manifest)).await
}

/// The request that uploads a component with its manifest.
pub fn form(host: &Host, path: &str, component: &[u8], manifest: &str) -> Request<Full<Bytes>> {
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n".to_vec();
    body.extend(manifest.as_bytes());
    body.extend(b"\r\n--b\r\nContent-Disposition: form-data; name=\"component\"\r\n\r\n");
    body.extend(component);
    body.extend(b"\r\n--b--\r\n");
    let request = Request::put(host.admin_url(&format!("/v1/services/{path}")))
        .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
        .body(Full::new(Bytes::from(body)));
    request.expect("a request")
}

/// Uploads it and waits until its deployment has the state.
pub async fn deploy(
    host: &Host,
    path: &str,
    component: &[u8],
    manifest: &str,
    state: &str,
) -> Value {
    let reply = upload(host, path, component, manifest).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    until_state(host, reply.json()["id"].as_str().expect("an id"), state).await
}

pub async fn until_state(host: &Host, id: &str, state: &str) -> Value {
    eventually(&format!("the deployment is {state}"), async || {
        let found =
            ask(host, Method::GET, &format!("/v1/deployments/{id}"), Value::Null).await.json();
        let now = found["state"].as_str().expect("a state");
        let is_over = now != "running" && now != "held";
        assert!(!is_over || now == state, "it is {now}: {found}");
        (now == state).then_some(found)
    })
    .await
}

/// Waits until the deployment is at the step.
pub async fn until_step(host: &Host, id: &str, step: &str) {
    eventually(&format!("the deployment is {step}"), async || {
        let path = format!("/v1/deployments/{id}");
        let found = ask(host, Method::GET, &path, Value::Null).await.json();
        let steps = found["steps"].as_array()?;
        (steps.last()?["step"] == step).then_some(())
    })
    .await;
}

/// The probe's component and manifest, with this in `[capabilities] config`, this
/// in `[deploy]`.
pub fn acting(config: &str, deploy: &str) -> (Vec<u8>, String) {
    let (bytes, manifest) = component("probe");
    let manifest = manifest.expect("the probe has one");
    let manifest = manifest.replace("colour = \"blue\"", &format!("colour = \"blue\", {config}"));
    (bytes, format!("[deploy]\n{deploy}\n{manifest}"))
}

/// Runs `hotdock` against the host.
pub fn hotdock(host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(arguments).env("HOTDOCK_ADMIN", host.admin_url("")).env_remove("HOTDOCK_TOKEN");
    command.output().expect("it ends")
}
