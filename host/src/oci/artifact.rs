//! The layout of a component in a registry (CNCF TAG Runtime, "Wasm OCI Artifact
//! layout").

use bytes::Bytes;
use oci_client::client::{Config, ImageLayer};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use serde_json::json;
use sha2::{Digest as _, Sha384, Sha512};

use super::cause::Cause;
use crate::component::Interfaces;
use crate::digest::Digest;

/// The media type of the one layer: the component.
const LAYER: &str = "application/wasm";
/// The media type of the config, which indexes what the component exports and imports.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
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
    pub(super) fn of(component: Vec<u8>, interfaces: &Interfaces) -> Self {
        let layer = ImageLayer::new(component, LAYER.to_owned(), None);
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
        let manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, None);
        Self { layer, config, manifest }
    }
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
