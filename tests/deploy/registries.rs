//! Components that go to an OCI registry and come from there.

use std::path::Path;
use std::process::{Command, Output};

use http::Method;
use serde_json::{Value, json};

use super::operator::ask;
use crate::harness::registry::{ANN, Registry, digest};
use crate::harness::{Host, hello};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// Runs `hotdock` with no credentials but those in the environment that is given.
fn hotdock(arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
    let nowhere = Path::new("/nonexistent");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    for proxy in
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        command.env_remove(proxy);
    }
    command.args(arguments).env("DOCKER_CONFIG", nowhere).env_remove("HOTDOCK_REGISTRY_TOKEN");
    command.env_remove("HOTDOCK_REGISTRY_TOKEN_FILE");
    command.envs(environment.iter().copied()).output().expect("it ends")
}

fn done(arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = hotdock(arguments, environment);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Why the command failed.
fn failed(arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = hotdock(arguments, environment);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_goes_to_a_registry_and_from_there_to_a_host() {
    let Some(registry) = Registry::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(1)).expect("a component");
    std::fs::write(file.with_extension("toml"), "[service]\nname = \"greeter\"\n").expect("a file");
    let tag = registry.reference("shop/hello:1");
    let pushed = done(&["pack", text(&file), "--push", &tag], &[]);
    let pushed = pushed.trim();
    assert!(pushed.starts_with(&format!("{tag}@sha256:")), "{pushed}");
    assert_eq!(done(&["pack", text(&file), "--push", &tag], &[]).trim(), pushed, "the same again");
    assert_eq!(std::fs::read(&file).expect("the component"), hello(1), "only pushed");

    let manifest = registry.get("shop/hello/manifests/1").await;
    assert_eq!(format!("{tag}@{}", digest(&manifest.body)), pushed);
    let manifest = manifest.json();
    assert_eq!(manifest["config"]["mediaType"], CONFIG);
    assert_eq!(manifest["layers"].as_array().expect("layers").len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config = manifest["config"]["digest"].as_str().expect("a digest");
    let config = registry.get(&format!("shop/hello/blobs/{config}")).await.json();
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
    let exports = config["component"]["exports"].to_string();
    assert!(exports.contains("wasi:http/incoming-handler@0.2"), "{config}");

    let mut host = Host::builder().start().await;
    let admin = host.admin_url("");
    let deployed = done(&["deploy", &tag, "--admin", &admin], &[]);
    assert!(deployed.contains(pushed) && deployed.contains("greeter v1: 100 %"), "{deployed}");
    assert_eq!(host.get("/greeter").await.header("x-version"), "VERSION-00000001");
    let versions =
        ask(&host, Method::GET, "/v1/services/greeter/versions", Value::Null).await.json();
    assert_eq!(versions[0]["origin"], "oci", "{versions}");
    assert_eq!(versions[0]["reference"], pushed, "{versions}");
    let shown = done(&["versions", "greeter", "--admin", &admin], &[]);
    assert!(shown.contains(pushed), "{shown}");

    // By its digest, whatever the tag is by then; and known after a restart.
    std::fs::write(&file, hello(2)).expect("a component");
    done(&["pack", text(&file), "--push", &tag], &[]);
    let deployed = done(&["deploy", &tag, "--admin", &admin], &[]);
    assert!(deployed.contains("greeter v2"), "{deployed}");
    let deployed = done(&["deploy", pushed, "--admin", &admin], &[]);
    assert!(deployed.contains("greeter v3"), "{deployed}");
    assert_eq!(host.get("/greeter").await.header("x-version"), "VERSION-00000001");
    host.stop().await;
    host.start().await;
    let serving = &host.service("greeter").await["serving"];
    assert_eq!(serving["origin"], "oci", "{serving}");
    assert_eq!(serving["reference"], pushed, "{serving}");

    let pulled = folder.path().join("pulled.wasm");
    done(&["pack", "--pull", pushed, "-o", text(&pulled)], &[]);
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    assert_eq!(digest(&std::fs::read(&pulled).expect("a component")), layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_dockers_or_those_that_are_given() {
    let Some(registry) = Registry::start_for_ann().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(1)).expect("a component");
    let tag = registry.reference("shop/hello:1");
    let push = ["pack", text(&file), "--push", &tag];
    let said = failed(&push, &[]);
    assert!(said.contains(&tag) && said.contains("docker login"), "{said}");

    let docker = folder.path().join("docker");
    std::fs::create_dir(&docker).expect("a folder");
    let address = registry.address.to_string();
    let config = json!({"auths": {address: {"auth": "YW5uOlUqVQ=="}}});
    std::fs::write(docker.join("config.json"), config.to_string()).expect("a file");
    done(&push, &[("DOCKER_CONFIG", &docker)]);

    let output = folder.path().join("pulled.wasm");
    let pull = ["pack", "--pull", &tag, "-o", text(&output)];
    assert!(failed(&pull, &[]).contains("docker login"));
    let token = folder.path().join("token");
    std::fs::write(&token, "ann:wrong\n").expect("a file");
    let said = failed(&pull, &[("HOTDOCK_REGISTRY_TOKEN_FILE", &token)]);
    assert!(said.contains("does not accept the credentials") && !said.contains("wrong"), "{said}");
    done(&pull, &[("HOTDOCK_REGISTRY_TOKEN", Path::new(ANN))]);
    std::fs::write(&token, format!("{ANN}\n")).expect("a file");
    let with_file = [&pull[..], &["--registry-token-file", text(&token)]].concat();
    done(&with_file, &[]);
    assert_eq!(std::fs::read(&output).expect("a component"), hello(1));
}

#[test]
fn a_token_that_is_none_is_named_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (empty, output) = (folder.path().join("token"), folder.path().join("x.wasm"));
    std::fs::write(&empty, "\n").expect("written");
    let pull = ["pack", "--pull", "oci://127.0.0.1:1/shop/cart:1", "-o", text(&output)];
    for (variable, value, place) in [
        ("HOTDOCK_REGISTRY_TOKEN", Path::new(""), "HOTDOCK_REGISTRY_TOKEN: "),
        ("HOTDOCK_REGISTRY_TOKEN_FILE", &*empty, text(&empty)),
    ] {
        let output = hotdock(&pull, &[(variable, value)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(place) && said.contains("there is nothing here"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_no_component_or_was_changed_is_said_and_not_deployed() {
    let Some(registry) = Registry::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("pulled.wasm");
    let pull = |reference: &str| failed(&["pack", "--pull", reference, "-o", text(&output)], &[]);

    let missing = registry.reference("shop/none:1");
    let said = pull(&missing);
    assert!(
        said.contains(&missing) && said.contains("no such repository, tag or digest"),
        "{said}"
    );

    let layer = registry.put_blob("shop/image", b"a layer").await;
    let config = registry.put_blob("shop/image", b"{}").await;
    let artifact = |kind: &str, size: u64| {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": CONFIG, "digest": config, "size": 2},
            "layers": [{"mediaType": kind, "digest": layer, "size": size}],
        })
    };
    let tar = "application/vnd.oci.image.layer.v1.tar";
    registry.put_manifest("shop/image", "tar", &artifact(tar, 7)).await;
    let said = pull(&registry.reference("shop/image:tar"));
    assert!(said.contains("it is no component") && said.contains(tar), "{said}");
    registry.put_manifest("shop/image", "large", &artifact("application/wasm", 300 << 20)).await;
    let said = pull(&registry.reference("shop/image:large"));
    assert!(said.contains("a component has at most"), "{said}");
    registry.put_manifest("shop/image", "longer", &artifact("application/wasm", 3)).await;
    let said = pull(&registry.reference("shop/image:longer"));
    assert!(said.contains("more than 3 bytes"), "{said}");

    registry.put_manifest("shop/image", "changed", &artifact("application/wasm", 7)).await;
    std::fs::write(registry.blob_file(&layer), b"a liar!").expect("changed");
    let said = pull(&registry.reference("shop/image:changed"));
    assert!(said.to_lowercase().contains("digest"), "{said}");
    assert!(!output.exists());

    let wrong = format!("{}@sha256:{}", registry.reference("shop/image:changed"), "0".repeat(64));
    assert!(pull(&wrong).contains("no such repository, tag or digest"));
    let unreachable = "oci://127.0.0.1:1/shop/hello:1";
    assert!(pull(unreachable).contains("127.0.0.1:1 cannot be reached"));
    let usage = hotdock(&["pack", "--pull", "oci://hello:1", "-o", text(&output)], &[]);
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_notes_only_a_reference_with_its_digest() {
    let host = Host::builder().start().await;
    for wrong in ["cart", "oci%3A%2F%2Fr.example%2Fcart%3A1"] {
        let path = format!("hello?reference={wrong}");
        let reply = super::operator::upload(&host, &path, &hello(1), "").await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
}
