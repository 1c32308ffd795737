//! Pulls components from registries and pushes them there.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::HeaderValue;
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciManifest};
use oci_client::token_cache::RegistryOperation;

use super::artifact::{Artifact, component_layer, digest};
use super::{Credentials, OciError, Reference};
use crate::component::Interfaces;
use crate::deploy::MAX_COMPONENT_BYTES;

/// How long a registry may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How a registry is asked.
#[derive(Clone, Debug)]
pub struct Access {
    /// What lets one in.
    pub credentials: Credentials,
    /// Also over plain HTTP where the registry is not on this machine.
    pub plain_http: bool,
}

/// A component that was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The component, of the digest that its manifest names.
    pub component: Vec<u8>,
    /// Where it was, with its manifest's digest.
    pub reference: Reference,
}

/// Pulls a component. Its manifest and its bytes have the digests that they are
/// asked for by.
///
/// # Errors
/// When the registry does not give it, or it is no component or too large.
pub async fn pull(reference: &Reference, access: &Access) -> Result<Pulled, OciError> {
    let failed = |cause: OciDistributionError| OciError::of(reference, &access.credentials, &cause);
    let (client, image) = (client(reference, access)?, reference.as_client());
    let pulled = client.pull_manifest(image, access.credentials.as_client()).await;
    let (manifest, digest) = pulled.map_err(failed)?;
    let OciManifest::Image(manifest) = manifest else {
        return Err(OciError::new(
            reference,
            "it is an index of several artifacts: name one of them by its digest",
        ));
    };
    let layer = component_layer(&manifest).map_err(|reason| OciError::new(reference, reason))?;
    let too_large = |size: &dyn std::fmt::Display| {
        let reason = format!("it has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}");
        OciError::new(reference, reason)
    };
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > MAX_COMPONENT_BYTES {
        return Err(too_large(&layer.size));
    }
    let mut stream = client.pull_blob_stream(image, layer).await.map_err(failed)?.stream;
    let mut component = Vec::new();
    while let Some(chunk) = stream.next().await {
        // The digest is compared at the end.
        let chunk = chunk.map_err(|error| OciError::new(reference, error.to_string()))?;
        if (component.len() + chunk.len()) as u64 > size {
            return Err(OciError::new(reference, format!("it is longer than its {size} bytes")));
        }
        component.extend_from_slice(&chunk);
    }
    if component.len() as u64 != size {
        let found = component.len();
        return Err(OciError::new(reference, format!("only {found} of its {size} bytes came")));
    }
    Ok(Pulled { component, reference: reference.at(&digest) })
}

/// Pushes a component under a tag. Returns the reference with the digest that it
/// has there; the same component always has the same.
///
/// # Errors
/// When the reference names no tag, or the registry does not take it.
pub async fn push(
    reference: &Reference,
    component: Vec<u8>,
    interfaces: &Interfaces,
    access: &Access,
) -> Result<Reference, OciError> {
    let failed = |cause: OciDistributionError| OciError::of(reference, &access.credentials, &cause);
    if reference.tag().is_none() || reference.digest().is_some() {
        return Err(OciError::new(
            reference,
            "a tag is what it is pushed under: oci://REGISTRY/REPOSITORY:TAG",
        ));
    }
    let (client, image) = (client(reference, access)?, reference.as_client());
    let artifact = Artifact::of(component, interfaces);
    let manifest = serde_json::to_vec(&artifact.manifest)
        .map_err(|error| OciError::new(reference, error.to_string()))?;
    client
        .auth(image, access.credentials.as_client(), RegistryOperation::Push)
        .await
        .map_err(failed)?;
    for (blob, descriptor) in [
        (artifact.layer.data, &artifact.manifest.layers[0]),
        (artifact.config.data, &artifact.manifest.config),
    ] {
        client.push_blob(image, blob, &descriptor.digest).await.map_err(failed)?;
    }
    let pushed = reference.at(&digest(&manifest));
    let kind = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
    client.push_manifest_raw(image, manifest, kind).await.map_err(failed)?;
    Ok(pushed)
}

fn client(reference: &Reference, access: &Access) -> Result<Client, OciError> {
    // The client takes the process's provider; there is one already where another
    // client was made.
    _ = rustls::crypto::ring::default_provider().install_default();
    let plain = access.plain_http || reference.is_loopback();
    let config = ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        platform_resolver: None,
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: concat!("hotdock/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|cause| OciError::of(reference, &access.credentials, &cause))
}
