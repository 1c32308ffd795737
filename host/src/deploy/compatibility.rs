//! What a newer version would break for those who rely on the one before it: its
//! clients, by the requests that it answers; the bus, by the events that it
//! takes; and whoever calls its other exports. What deployed services import from it is
//! looked at in `providers`; what the older version exports is what somebody else may rely on.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use super::parts::Parts;
use super::receive::Candidate;
use crate::component::{self, Differences, Interfaces};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::runtime::Servable;
use crate::service::Version;

/// How many of what is broken are worth reading.
pub(super) const MAX_BREAKING: usize = 50;

/// How a breaking change is deployed all the same.
const ALLOWED_BY: &str = "a breaking change is deployed by `hotdock deploy --allow-breaking`, or \
                          with `allow-breaking = true` under `[deploy]` in its manifest";

/// One of two versions that are compared.
pub(super) struct Side<'a> {
    pub(super) interfaces: &'a Interfaces,
    pub(super) manifest: &'a Manifest,
}

/// Every reason why the candidate would break what relies on the version that
/// serves; none where that is allowed, or nothing serves.
pub(super) async fn broken(parts: &Arc<Parts>, candidate: &Candidate) -> Vec<String> {
    let service = &candidate.manifest.service;
    let Some(old) = parts.compared_with(service).filter(|old| old.digest != candidate.digest)
    else {
        return Vec::new();
    };
    let old_id = old.id.clone();
    let (digest, manifest) = (candidate.digest, Arc::clone(&candidate.manifest));
    let compared = parts.blocking(move |parts| breaking(parts, &old, &digest, &manifest));
    let breaking = compared.await;
    if breaking.is_empty() {
        return breaking;
    }
    if candidate.allow_breaking {
        let reasons = breaking.join("; ");
        tracing::warn!(service = service.as_str(), reasons, "a breaking change, as allowed");
        return Vec::new();
    }
    let more = breaking.len().saturating_sub(MAX_BREAKING);
    let mut reasons: Vec<String> = breaking
        .into_iter()
        .take(MAX_BREAKING)
        .map(|reason| format!("not compatible with {old_id}: {reason}"))
        .collect();
    if more > 0 {
        reasons.push(format!("and {more} more; `hotdock diff` shows them all"));
    }
    reasons.push(ALLOWED_BY.to_owned());
    reasons
}

/// What a component with this manifest breaks of what a version offers.
fn breaking(parts: &Parts, old: &Version, new: &Digest, manifest: &Manifest) -> Vec<String> {
    let before = match read(&parts.blobs.component(&old.digest)) {
        Ok(before) => before,
        Err(error) => {
            // It serves all the same: nothing is known that would break.
            tracing::warn!(version = %old.id, error, "what is newer is not compared with it");
            return Vec::new();
        }
    };
    match read(&parts.blobs.component(new)) {
        Ok(after) => {
            let before = Side { interfaces: &before, manifest: &old.manifest };
            offered(&before, &Side { interfaces: &after, manifest }).breaking
        }
        Err(error) => vec![error],
    }
}

/// What differs in what the two offer to others.
pub(super) fn offered(old: &Side<'_>, new: &Side<'_>) -> Differences {
    // How the host calls it is between the two of them; that it can be called counts.
    let counts = |export: &str| !Servable::is_entry(export);
    let mut differences = component::exports(old.interfaces, new.interfaces, counts);
    let servable = |side: &Side<'_>| Servable::of(&side.interfaces.exports());
    let (before, after) = (servable(old), servable(new));
    requests(old.manifest, before, after, &mut differences);
    events(old.manifest, before, after, &mut differences);
    differences
}

fn requests(
    old: &Manifest,
    before: Option<Servable>,
    after: Option<Servable>,
    differences: &mut Differences,
) {
    let of = |servable: Option<Servable>| servable.and_then(|servable| servable.requests);
    match (of(before), of(after)) {
        (Some(_), None) => {
            let routes: Vec<String> = old.routes.iter().map(ToString::to_string).collect();
            differences.breaking.push(format!(
                "requests to {} have no answer any more: it exports none of \
                 hotdock:http/handler, wasi:http/incoming-handler and wasi:http/handler",
                routes.join(", ")
            ));
        }
        (None, Some(taken)) => differences.compatible.push(format!("it takes requests: {taken}")),
        (Some(was), Some(is)) if was != is => {
            differences.compatible.push(format!("it takes requests by {is}, not {was}"));
        }
        _ => {}
    }
}

fn events(
    old: &Manifest,
    before: Option<Servable>,
    after: Option<Servable>,
    differences: &mut Differences,
) {
    let of = |servable: Option<Servable>| servable.and_then(|servable| servable.events);
    match (of(before), of(after)) {
        (Some(_), None) if old.subscriptions.is_empty() => {
            differences.compatible.push("it takes no events any more; none reached it".to_owned());
        }
        (Some(_), None) => {
            let names: Vec<&str> =
                old.subscriptions.iter().map(|wanted| wanted.name.as_str()).collect();
            differences.breaking.push(format!(
                "events of its subscriptions ({}) have no handler any more: it exports neither \
                 hotdock:events/handler nor hotdock:events/async-handler",
                names.join(", ")
            ));
        }
        (None, Some(taken)) => differences.compatible.push(format!("it takes events: {taken}")),
        (Some(was), Some(is)) if was != is => {
            differences.compatible.push(format!("it takes events by {is}, not {was}"));
        }
        _ => {}
    }
}

fn read(path: &Path) -> Result<Interfaces, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Interfaces::read(BufReader::new(file)).map_err(|error| error.to_string())
}
