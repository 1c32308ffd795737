//! `hotdock check`: whether a file could be deployed, without a host.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::access::{self, Import};
use super::compile::run_child;
use super::config::MAX_COMPONENT_BYTES;
use super::inspect::{Content, inspect};
use super::plugin_file::{Part, Stem, named};
use super::preamble;
use super::validate::unserved;
use crate::digest::Digest;
use crate::manifest::{MAX_TEXT_BYTES, Manifest};
use crate::runtime::{LoadedComponent, Runtime, Servable, compatibility_key};

/// What a file that could be deployed is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The service that it would be a version of.
    pub service: String,
    /// The component's SHA-256.
    pub digest: String,
    /// The component's size.
    pub bytes: usize,
    /// How requests and events reach it: `wasi:http 0.2` or `wasi:http 0.3`,
    /// `hotdock:events` or `hotdock:events (async)`.
    pub serves: String,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// The interfaces that it imports, and what each of them reaches.
    pub imports: Vec<Import>,
    /// What its manifest asks for without need.
    pub notes: Vec<String>,
    /// Its routes as `[METHODS ][host]path`.
    pub routes: Vec<String>,
    /// The names of its subscriptions.
    pub subscriptions: Vec<String>,
    /// Its schedules as `<name>: <cron> <time zone>`.
    pub schedules: Vec<String>,
    /// The names of its migrations, in order. Whether they go through depends on
    /// the store that they are applied to.
    pub migrations: Vec<String>,
}

/// Looks at a component and the manifest beside it as a deployment would, but
/// for what depends on a host: routes of other services, migrations, health.
/// `compiler` is run as `<compiler> compile INPUT OUTPUT`.
///
/// # Errors
/// Every reason why it could not be deployed.
pub async fn check(
    runtime: &Runtime,
    compiler: &Path,
    compile_timeout: Duration,
    file: &Path,
) -> Result<Description, Vec<String>> {
    let (component, manifest) = read(file)?;
    // Compiled also when the manifest is refused, so that all reasons are told.
    let loaded = load(runtime, compiler, compile_timeout, file).await;
    let linked = loaded
        .map_err(|error| vec![error])
        .and_then(|loaded| runtime.link(&loaded).map(|program| (loaded, program.servable())));
    match (manifest, linked) {
        (Ok(manifest), Ok((loaded, servable))) => {
            let reasons = unserved(servable, &manifest);
            if !reasons.is_empty() {
                return Err(reasons);
            }
            Ok(description(&component, &manifest, &loaded, servable))
        }
        (manifest, linked) => {
            let reasons = [manifest.err(), linked.err()];
            Err(reasons.into_iter().flatten().flatten().collect())
        }
    }
}

/// A component's bytes, and the manifest that counts for it.
pub(super) fn read(file: &Path) -> Result<(Vec<u8>, Result<Manifest, Vec<String>>), Vec<String>> {
    let shown = file.display();
    let Some((stem, Part::Component)) = named(file) else {
        return Err(vec![format!("{shown} is not named like a component: NAME.wasm")]);
    };
    let component = std::fs::read(file).map_err(|error| vec![format!("{shown}: {error}")])?;
    if component.len() as u64 > MAX_COMPONENT_BYTES {
        let size = component.len();
        return Err(vec![format!(
            "{shown} has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}"
        )]);
    }
    preamble::check(&component).map_err(|error| vec![format!("{shown} {error}")])?;
    let beside = beside(file, &stem)?;
    let manifest = inspect(&stem, &component, beside).map(|(_, manifest)| manifest);
    Ok((component, manifest))
}

fn beside(file: &Path, stem: &Stem) -> Result<Option<Content>, Vec<String>> {
    let path = file.with_file_name(stem.file(Part::Manifest));
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() > MAX_TEXT_BYTES => Ok(Some(Err(bytes.len() as u64))),
        Ok(bytes) => Ok(Some(Ok(bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(vec![format!("{}: {error}", path.display())]),
    }
}

async fn load(
    runtime: &Runtime,
    compiler: &Path,
    limit: Duration,
    file: &Path,
) -> Result<LoadedComponent, String> {
    let output = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let key = run_child((compiler, limit), file, output.path())
        .await
        .map_err(|error| error.to_string())?;
    if key != compatibility_key() {
        return Err("the compiler makes code for another host".to_owned());
    }
    // Mapped: the file's content lives on after its name is gone.
    runtime.load(output.path()).map_err(|error| error.to_string())
}

fn description(
    component: &[u8],
    manifest: &Manifest,
    loaded: &LoadedComponent,
    servable: Servable,
) -> Description {
    let mut notes = access::unused(&loaded.imports(), manifest);
    if servable.events.is_some() && manifest.subscriptions.is_empty() {
        notes.push(
            "no event reaches it: it exports a handler and the manifest has no [[subscribe]]"
                .to_owned(),
        );
    }
    Description {
        service: manifest.service.to_string(),
        digest: Digest::of(component).to_string(),
        bytes: component.len(),
        serves: servable.to_string(),
        exports: loaded.exports(),
        notes,
        imports: access::imports(loaded.imports(), manifest),
        routes: servable.routes(manifest).iter().map(ToString::to_string).collect(),
        subscriptions: manifest.subscriptions.iter().map(|wanted| wanted.name.clone()).collect(),
        schedules: manifest.schedules.iter().map(ToString::to_string).collect(),
        migrations: manifest.migrations.iter().map(|migration| migration.name.clone()).collect(),
    }
}
