//! `hotdock check`: whether a file could be deployed, without a host.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::alone;
use super::compile::run_child;
use super::description::Description;
use super::inspect::uncalled;
use super::pair::Pair;
use super::validate::{migrations, unserved};
use crate::digest::Digest;
use crate::invocation::probe;
use crate::manifest::Manifest;
use crate::runtime::{LoadedComponent, Runtime, compatibility_key};
use crate::state::{self, Store, StoreOptions};

/// A component that could be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What it is.
    pub component: Description,
    /// The secrets that it names: whether a host has them is not known here.
    pub secrets: Vec<String>,
}

/// Looks at a component and the manifest beside it as a deployment would, but
/// for what depends on a host: routes of other services, what serves already, secrets.
/// `compiler` is run as `<compiler> compile INPUT OUTPUT`.
///
/// # Errors
/// Every reason why it could not be deployed.
pub async fn check(
    runtime: &Runtime,
    compiler: &Path,
    compile_timeout: Duration,
    file: &Path,
) -> Result<Checked, Vec<String>> {
    let Pair { component, manifest, is_broken, .. } =
        Pair::read(file, None).map_err(|reason| vec![reason])?;
    if is_broken {
        // The compiler would say the same once more.
        return Err(manifest.err().unwrap_or_default());
    }
    // Compiled also when the manifest is refused, so that all reasons are told.
    let loaded = load(runtime, compiler, compile_timeout, &component).await;
    let linked = loaded
        .map_err(|error| vec![error])
        .and_then(|loaded| runtime.link(&loaded).map(|program| (loaded, program.servable())));
    match (manifest, linked) {
        (Ok((_, manifest)), Ok((loaded, servable))) => {
            let mut reasons = unserved(servable, &loaded.exports(), &manifest);
            let uses = loaded.uses();
            let uses: Vec<_> = uses.iter().map(|used| used.name.clone()).collect();
            reasons.extend(uncalled(&uses, &manifest));
            if !reasons.is_empty() {
                return Err(reasons);
            }
            let digest = Digest::of(&component);
            Box::pin(tried(runtime, &loaded, digest, &manifest)).await?;
            let secrets = manifest.capabilities.secrets.iter().cloned().collect();
            let component =
                Description::of(&component, &manifest, loaded.exports(), loaded.imports());
            Ok(Checked { component, secrets })
        }
        (manifest, linked) => {
            let reasons = [manifest.err(), linked.err()];
            Err(reasons.into_iter().flatten().flatten().collect())
        }
    }
}

/// What a deployment on a host without the service would find: its migrations are applied to a
/// store that is thrown away, and it is asked how it is. Not where it needs secrets, which only
/// a host has.
async fn tried(
    runtime: &Runtime,
    loaded: &LoadedComponent,
    digest: Digest,
    manifest: &Manifest,
) -> Result<(), Vec<String>> {
    let one = |reason: String| vec![reason];
    let folder = tempfile::tempdir().map_err(|error| one(error.to_string()))?;
    state::memory::install();
    let store = Store::new(
        folder.path().join("store.db"),
        manifest.service.as_str(),
        StoreOptions::default(),
    );
    let migrated = store.migrate(&migrations(manifest)).await;
    migrated.map_err(|error| one(error.to_string()))?;
    if manifest.capabilities.secrets.is_empty() {
        let program = runtime.link(loaded)?;
        let version = alone::version(runtime, program, digest, manifest.clone());
        let probed = Box::pin(probe(&version, &store, &[])).await;
        version.retire();
        probed.map_err(|error| one(error.to_string()))?;
    }
    store.close().await;
    Ok(())
}

async fn load(
    runtime: &Runtime,
    compiler: &Path,
    limit: Duration,
    component: &[u8],
) -> Result<LoadedComponent, String> {
    let file = || tempfile::NamedTempFile::new().map_err(|error| error.to_string());
    // What was read, and not read once more: the file may be a pipe, as for a deployment.
    let (input, output) = (file()?, file()?);
    std::fs::write(input.path(), component).map_err(|error| error.to_string())?;
    let key = run_child((compiler, limit), input.path(), output.path())
        .await
        .map_err(|error| error.to_string())?;
    if key != compatibility_key() {
        return Err("the compiler makes code for another host".to_owned());
    }
    // Mapped: the file's content lives on after its name is gone.
    runtime.load(output.path()).map_err(|error| error.to_string())
}
