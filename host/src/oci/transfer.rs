//! Pulls components from registries and pushes them there.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest,
};

use super::artifact::{Artifact, component_layer, digest, has_digest, is_digest};
use super::cause::Cause;
use super::client::{Client, Intent, read};
use super::{Credentials, OciError, Reference};
use crate::component::Interfaces;
use crate::component::MAX_COMPONENT_BYTES;

/// The largest manifest that is read, as registries have it (Distribution Specification,
/// "Pushing Manifests").
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// What one may answer with where a manifest is asked for.
const MANIFESTS: [&str; 4] = [
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];
/// The digest of what is in the answer's body.
const DIGEST: &str = "docker-content-digest";

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
    let pulled = pull_from(reference, access).await;
    let (component, digest) =
        pulled.map_err(|cause| OciError::of(reference, &access.credentials, &cause))?;
    Ok(Pulled { component, reference: reference.at(&digest) })
}

/// The component, and its manifest's digest.
async fn pull_from(reference: &Reference, access: &Access) -> Result<(Vec<u8>, String), Cause> {
    let client = Client::enter(reference, access, Intent::Pull).await?;
    let (manifest, digest) = manifest(&client, reference).await?;
    let layer = component_layer(&manifest).map_err(Cause::Said)?;
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > MAX_COMPONENT_BYTES {
        let size = layer.size;
        let reason = format!("it has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}");
        return Err(Cause::Said(reason));
    }
    Ok((component(&client, layer, size).await?, digest))
}

async fn manifest(
    client: &Client<'_>,
    reference: &Reference,
) -> Result<(OciImageManifest, String), Cause> {
    let wanted = reference.digest().or(reference.tag()).unwrap_or_default();
    let accept = MANIFESTS.join(", ");
    let response = client.get(&format!("manifests/{wanted}"), Some(&accept)).await?;
    let headers = response.headers().clone();
    let text = read(response, "its manifest", MAX_MANIFEST_BYTES).await?;
    // Also where it was asked for by a tag, and the registry says which digest it has.
    let said = header(&headers, DIGEST);
    for expected in [reference.digest(), said].into_iter().flatten() {
        if !has_digest(&text, expected)? {
            return Err(Cause::Said(format!("its manifest does not have the digest {expected}")));
        }
    }
    let found = said.map_or_else(|| digest(&text), str::to_owned);
    let kind = header(&headers, CONTENT_TYPE.as_str()).unwrap_or("no media type").to_owned();
    match serde_json::from_slice(&text) {
        Ok(OciManifest::Image(manifest)) if manifest.schema_version == 2 => {
            Ok((manifest, reference.digest().map_or(found, str::to_owned)))
        }
        Ok(OciManifest::ImageIndex(_)) => Err(Cause::Said(
            "it is an index of several artifacts: name one of them by its digest".to_owned(),
        )),
        _ => Err(Cause::Said(format!("what is there is no manifest of an artifact ({kind})"))),
    }
}

async fn component(
    client: &Client<'_>,
    layer: &OciDescriptor,
    size: u64,
) -> Result<Vec<u8>, Cause> {
    if !is_digest(&layer.digest) {
        return Err(Cause::Said("its component has a name that is no digest".to_owned()));
    }
    let response = client.get(&format!("blobs/{}", layer.digest), None).await?;
    let component = read(response, "the component", size).await?;
    let found = component.len();
    if found as u64 != size {
        return Err(Cause::Said(format!("only {found} of its {size} bytes came")));
    }
    if !has_digest(&component, &layer.digest)? {
        let expected = &layer.digest;
        return Err(Cause::Said(format!("the component does not have the digest {expected}")));
    }
    Ok(component)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Pushes a component under a tag. Returns the reference with the digest that it
/// has there; the same component of the same service always has the same.
///
/// # Errors
/// When the reference names no tag, or the registry does not take it.
pub async fn push(
    reference: &Reference,
    component: Vec<u8>,
    (interfaces, service): (&Interfaces, &str),
    access: &Access,
) -> Result<Reference, OciError> {
    let failed = |cause: Cause| OciError::of(reference, &access.credentials, &cause);
    let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
        return Err(OciError::new(
            reference,
            "a tag is what it is pushed under: oci://REGISTRY/REPOSITORY:TAG",
        ));
    };
    let artifact = Artifact::of(component, interfaces, service);
    let manifest = serde_json::to_vec(&artifact.manifest)
        .map_err(|error| OciError::new(reference, error.to_string()))?;
    let client = Client::enter(reference, access, Intent::Push).await.map_err(failed)?;
    for (blob, descriptor) in [
        (artifact.layer.data, &artifact.manifest.layers[0]),
        (artifact.config.data, &artifact.manifest.config),
    ] {
        client.put_blob(&descriptor.digest, blob).await.map_err(failed)?;
    }
    let pushed = reference.at(&digest(&manifest));
    let manifest = Bytes::from(manifest);
    client.put_manifest(tag, OCI_IMAGE_MEDIA_TYPE, manifest).await.map_err(failed)?;
    Ok(pushed)
}
