//! The layout of a component in a registry (CNCF TAG Runtime, "Wasm OCI Artifact
//! layout").

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::client::{Config, ImageLayer};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use serde_json::json;
use sha2::{Digest as _, Sha384, Sha512};
use wasmparser::Payload;

use super::cause::Cause;
use crate::component::Interfaces;
use crate::digest::Digest;

/// The media type of the one layer: the component.
const LAYER: &str = "application/wasm";
/// The media type of the config, which indexes what the component exports and imports.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// What annotations' names begin with (OCI Image Format, "Annotations"); the one that `oras`
/// and others name a file by; and those that a component may have something for.
const PREFIX: &str = "org.opencontainers.image.";
const TITLE: &str = "org.opencontainers.image.title";
const ABOUT: [&str; 7] =
    ["version", "source", "licenses", "description", "authors", "revision", "url"];
/// When it was made. A component has no time of its own, and the same one is to
/// have the same digest in a registry, whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What is pushed: the layer, the config, and the manifest that names the two.
pub(super) struct Artifact {
    pub(super) layer: ImageLayer,
    pub(super) config: Config,
    pub(super) manifest: OciImageManifest,
}

impl Artifact {
    /// `title` is the file that it is pulled as.
    pub(super) fn of(title: &str, component: Vec<u8>, interfaces: &Interfaces) -> Self {
        let about = annotations(&component);
        let named = BTreeMap::from([(TITLE.to_owned(), title.to_owned())]);
        let layer = ImageLayer::new(component, LAYER.to_owned(), Some(named));
        let config = json!({
            "created": CREATED,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest(&layer.data)],
            "component": {
                "exports": interfaces.exports(),
                "imports": interfaces.imports(),
                "target": null,
            },
        });
        let config = Config::new(Bytes::from(config.to_string()), CONFIG.to_owned(), None);
        let manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, about);
        Self { layer, config, manifest }
    }
}

/// What the component says of itself (the custom sections of the WebAssembly tool conventions),
/// as an artifact says it.
fn annotations(component: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload.ok()? {
            // Those of what is nested are not its own.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 0 => {
                let text = std::str::from_utf8(section.data()).unwrap_or_default().trim();
                if ABOUT.contains(&section.name()) && !text.is_empty() {
                    found.insert(format!("{PREFIX}{}", section.name()), text.to_owned());
                }
            }
            _ => {}
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The layer that is the component.
///
/// # Errors
/// What the artifact is instead, in words.
pub(super) fn component_layer(manifest: &OciImageManifest) -> Result<&OciDescriptor, String> {
    match manifest.layers.as_slice() {
        [layer] if layer.media_type == LAYER => Ok(layer),
        layers => {
            let kinds: Vec<&str> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
            let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
            Err(format!(
                "it is no component: one layer {LAYER} is expected; found: {found} (config: {})",
                manifest.config.media_type
            ))
        }
    }
}

/// Whether a text is a digest, and can be part of a path.
pub(super) fn is_digest(text: &str) -> bool {
    let is_hex = |encoded: &str| encoded.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(algorithm, encoded)| {
        algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_hex(encoded)
    })
}

/// Whether the bytes have this digest, by the algorithms that are registered (Image
/// Specification, "Digests").
pub(super) fn has_digest(bytes: &[u8], expected: &str) -> Result<bool, Cause> {
    let Some((algorithm, encoded)) = expected.split_once(':') else {
        return Err(Cause::Said(format!("`{expected}` is no digest")));
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match algorithm {
        "sha256" => Ok(Digest::of(bytes).to_string() == encoded),
        "sha384" => Ok(hex(&Sha384::digest(bytes)) == encoded),
        "sha512" => Ok(hex(&Sha512::digest(bytes)) == encoded),
        _ => Err(Cause::Said(format!("it has a digest by `{algorithm}`, which is not known here"))),
    }
}

/// `sha256:…`
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}
