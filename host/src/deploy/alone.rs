//! A component deployed on its own, without a host around it: for who measures it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::compile::run_child_for;
use super::pair::Pair;
use super::validate::{migrations, unserved};
use crate::digest::Digest;
use crate::invocation::probe;
use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::runtime::{LoadedComponent, Pool, Processor, Program, Runtime, Secrets};
use crate::service::{Registry, Service, Traffic, Version};
use crate::state::{Store, StoreOptions};

/// What a component is compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Compiler<'a> {
    /// Run as `<program> compile INPUT OUTPUT`.
    pub program: &'a Path,
    /// How long it may take.
    pub limit: Duration,
    /// For which processors.
    pub processor: Processor,
}

/// Compiles a component and maps its code.
///
/// # Errors
/// When it doesn't compile, or was compiled for another processor than this.
pub async fn load_alone(
    runtime: &Runtime,
    compiler: Compiler<'_>,
    file: &Path,
) -> Result<LoadedComponent, String> {
    let output = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let Compiler { program, limit, processor } = compiler;
    let compiled = run_child_for(processor, (program, limit), file, output.path()).await;
    compiled.map_err(|error| error.to_string())?;
    // The file's content lives on after its name is gone.
    runtime.load(output.path()).map_err(|error| error.to_string())
}

/// Deploys a component as a host would, with the manifest beside `file` and its store
/// in `data`, but for what a host has besides it: other services' routes, secrets, and
/// events, of which it gets none. Its health path is asked. Its instances serve `reuse`
/// invocations, whatever the manifest says.
///
/// # Errors
/// Every reason why it cannot be deployed.
pub async fn deploy_alone(
    runtime: &Runtime,
    registry: &Registry,
    loaded: &LoadedComponent,
    file: &Path,
    data: &Path,
    reuse: u32,
) -> Result<Arc<Service>, Vec<String>> {
    let Pair { component, manifest, .. } = Pair::read(file, None).map_err(|reason| vec![reason])?;
    let (_, mut manifest) = manifest?;
    manifest.instances.reuse = reuse;
    let program = runtime.link(loaded)?;
    let reasons = unserved(program.servable(), &loaded.exports(), &manifest);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let name = manifest.service.clone();
    let path = data.join(format!("{name}.db"));
    let store = Store::new(path, name.as_str(), StoreOptions::default());
    store.migrate(&migrations(&manifest)).await.map_err(one)?;
    let version = version(runtime, program, Digest::of(&component), manifest);
    Box::pin(probe(&version, &store, &[])).await.map_err(one)?;
    registry
        .share(&name, Traffic::all(&version), &store)
        .map_err(|conflicts| conflicts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let service = registry.load().services.get(&name).cloned();
    Ok(service.expect("it was just given its traffic"))
}

/// The component as the only version of its service, without secrets.
pub(super) fn version(
    runtime: &Runtime,
    program: Program,
    digest: Digest,
    manifest: Manifest,
) -> Arc<Version> {
    let id = VersionId { service: manifest.service.clone(), number: 1 };
    let manifest = Arc::new(manifest);
    let secrets = Secrets::default();
    let pool = Pool::new(runtime, program, id.clone(), Arc::clone(&manifest), secrets);
    Version::new(id, digest, manifest, pool)
}

fn one(reason: impl std::error::Error) -> Vec<String> {
    vec![reason.to_string()]
}
