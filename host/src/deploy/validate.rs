//! Step 3: everything that can be told without running the component, and
//! whether its migrations would go through. Every reason, not only the first.

use std::sync::Arc;

use super::compatibility::broken;
use super::gathering::Entry;
use super::inspect::uncalled;
use super::no_room;
use super::parts::Parts;
use super::providers::{self, judge};
use super::receive::Candidate;
use super::refusal::{Refusal, Stop};
use super::status::Step;
use crate::events::receive;
use crate::manifest::{Manifest, Route};
use crate::name::ServiceName;
use crate::runtime::{LoadedComponent, Program, RequestInterface, Secrets, Servable, named};
use crate::service::RouteConflict;
use crate::state;

/// What the candidate runs, and with what.
pub(super) struct Validated {
    pub(super) program: Program,
    pub(super) secrets: Secrets,
    /// Its migrations, where some of them are not applied yet.
    pub(super) on_trial: Vec<state::Migration>,
}

/// Links the candidate and looks for what stands against it.
pub(super) async fn validate(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    component: LoadedComponent,
    entry: &mut Option<Entry>,
) -> Result<Validated, Stop> {
    let service = &candidate.manifest.service;
    candidate.progress.step(Step::Validating);
    let exports = component.exports();
    let uses: Vec<_> = component.uses().into_iter().map(|used| used.name).collect();
    let linked = parts.blocking(move |parts| parts.runtime.link(&component)).await;
    let manifest = &candidate.manifest;
    let (mut reasons, routes) = match &linked {
        Ok(program) => {
            let servable = program.servable();
            (unserved(servable, &exports, manifest), servable.routes(manifest))
        }
        Err(reasons) => {
            let uncalled = uncalled(&uses, manifest);
            (reasons.iter().cloned().chain(uncalled).collect(), &*manifest.routes)
        }
    };
    let conflicts = route_conflicts(parts, candidate, routes);
    reasons.extend(conflicts.iter().map(ToString::to_string));
    reasons.extend(broken(parts, candidate).await);
    // Also where it brings none: those that were applied may be missing.
    let mut on_trial = Vec::new();
    match parts.stores.of(service).await {
        Ok(store) => {
            let all = migrations(&candidate.manifest);
            match store.try_migrations(&all).await {
                Ok(new) if new.is_empty() => {}
                Ok(_) => on_trial = all,
                Err(error) => reasons.push(no_room::reason(&error, parts.stores.room())),
            }
        }
        Err(error) => reasons.push(error.to_string()),
    }
    let secrets = parts.secrets_of(&candidate.manifest).await.unwrap_or_else(|missing| {
        reasons.extend(missing);
        Secrets::default()
    });
    let judged = linked.as_ref().ok().map(|program| judge(parts, candidate, program));
    let standing = judged.map(|judged| {
        *entry = Some(judged.entry);
        judged.standing
    });
    let standing = standing.unwrap_or_default();
    match linked {
        Ok(program) if reasons.is_empty() && standing.is_good() => {
            Ok(Validated { program, secrets, on_trial })
        }
        _ if reasons.is_empty() => Err(providers::refusal(candidate, &standing).into()),
        _ => {
            let blocked = !conflicts.is_empty();
            let standing = providers::refusal(candidate, &standing).reasons;
            let reasons = standing.into_iter().chain(reasons).collect();
            Err(Refusal { blocked, ..candidate.refused(reasons) }.into())
        }
    }
}

/// What a manifest declares and a component with these exports, that is served like this,
/// cannot do.
pub(super) fn unserved(servable: Servable, exports: &[String], manifest: &Manifest) -> Vec<String> {
    let mut reasons = Vec::new();
    let exports = named(exports);
    if servable.events.is_none() {
        reasons.extend(manifest.subscriptions.iter().map(|subscription| {
            format!(
                "[[subscribe]] {} has nothing to deliver to: the component exports neither \
                 hotdock:events/handler@0.1.x nor hotdock:events/async-handler@0.1.x, but {exports}",
                subscription.name
            )
        }));
    }
    if servable.requests.is_none() {
        let exports = format!(
            "the component exports none of hotdock:http/handler@0.1.x, \
             wasi:http/incoming-handler@0.2.x and wasi:http/handler@0.3.x, but {exports}"
        );
        // The default is not what anyone asked for.
        if !manifest.routes_by_default {
            let routes = manifest.routes.iter();
            reasons
                .extend(routes.map(|route| format!("[[route]] {route} has no answer: {exports}")));
        }
        if let Some(path) = &manifest.deploy.health {
            reasons.push(format!("[deploy] health = \"{path}\" has no answer: {exports}"));
        }
    }
    let limits = &manifest.limits;
    if servable.requests == Some(RequestInterface::Whole)
        && limits.request_body > limits.host_memory
    {
        reasons.push(
            "the host would have to hold bodies that are larger than `[limits] host-memory`: the \
             component takes requests whole (hotdock:http/handler); lower `request-body` or raise \
             `host-memory`"
                .to_owned(),
        );
    }
    reasons
}

/// The routes that other services have. What the same file serves under another
/// name is no hindrance: it goes when this comes.
pub(super) fn route_conflicts(
    parts: &Parts,
    candidate: &Candidate,
    routes: &[Route],
) -> Vec<RouteConflict> {
    let renamed = renamed_from(parts, candidate);
    let mut conflicts = parts.registry.conflicts(&candidate.manifest.service, routes);
    // A conflict among two others was there before and is not this candidate's.
    conflicts.retain(|conflict| {
        conflict.claimant == candidate.manifest.service
            && Some(&conflict.holder) != renamed.as_ref()
    });
    conflicts
}

/// Routes whose own path the host keeps for events, once it takes some from outside. No refusal:
/// what is below that path reaches the service, and so does who asks for the service by its name.
pub(super) fn of_events(routes: &[Route]) -> impl Iterator<Item = &Route> {
    routes.iter().filter(|route| route.path == receive::PATH)
}

/// The service that the candidate's file serves, if its manifest names another now.
pub(super) fn renamed_from(parts: &Parts, candidate: &Candidate) -> Option<ServiceName> {
    let served = candidate.origin.file().and_then(|file| parts.board.service_of(file));
    served.filter(|service| *service != candidate.manifest.service)
}

/// The manifest's migrations as the store takes them.
pub(super) fn migrations(manifest: &Manifest) -> Vec<state::Migration> {
    let migrations = manifest.migrations.iter();
    migrations
        .map(|migration| state::Migration {
            name: migration.name.clone(),
            sql: migration.sql.clone(),
        })
        .collect()
}
