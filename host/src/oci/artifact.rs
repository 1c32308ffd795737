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
/// When it was made. A component has no time of its own, and the same one is to
/// have the same digest in a registry, whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What a file is called (Image Specification, "Pre-Defined Annotation Keys"; there are those
/// below, too).
const TITLE: &str = "org.opencontainers.image.title";
/// Sections of a component, and what a manifest calls what they say.
const SECTIONS: [(&str, &str); 7] = [
    ("version", "org.opencontainers.image.version"),
    ("source", "org.opencontainers.image.source"),
    ("licenses", "org.opencontainers.image.licenses"),
    ("description", "org.opencontainers.image.description"),
    ("authors", "org.opencontainers.image.authors"),
    ("homepage", "org.opencontainers.image.url"),
    ("revision", "org.opencontainers.image.revision"),
];
/// What is longer says too much.
const MAX_ANNOTATION_BYTES: usize = 1024;

/// What is pushed: the layer, the config, and the manifest that names the two.
pub(super) struct Artifact {
    pub(super) layer: ImageLayer,
    pub(super) config: Config,
    pub(super) manifest: OciImageManifest,
}

impl Artifact {
    /// `name` is the service's, where it is known: tools that pull name the file after it.
    pub(super) fn of(component: Vec<u8>, interfaces: &Interfaces, name: &str) -> Self {
        let title = BTreeMap::from([(TITLE.to_owned(), format!("{name}.wasm"))]);
        let about = about(&component);
        let layer = ImageLayer::new(component, LAYER.to_owned(), Some(title));
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
        let manifest = OciImageManifest::build(
            std::slice::from_ref(&layer),
            &config,
            (!about.is_empty()).then_some(about),
        );
        Self { layer, config, manifest }
    }
}

/// What the component says of itself in sections that tools write (the tool conventions'
/// `version`, `source`, `licenses`, `description`, `authors`, `homepage` and `revision`).
fn about(component: &[u8]) -> BTreeMap<String, String> {
    let mut about = BTreeMap::new();
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload {
            // Only of the component itself, not of the modules in it.
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(Payload::CustomSection(section)) if depth == 0 => {
                let key = SECTIONS.iter().find(|(name, _)| *name == section.name());
                let text = std::str::from_utf8(section.data()).ok();
                if let Some(((_, key), text)) = key.zip(text.filter(|text| is_short(text))) {
                    about.insert((*key).to_owned(), text.to_owned());
                }
            }
            Ok(_) => {}
            Err(_) => return about,
        }
    }
    about
}

fn is_short(text: &str) -> bool {
    (1..=MAX_ANNOTATION_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
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
