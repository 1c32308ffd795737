//! What a component and its manifest are, in words.

use serde::Serialize;

use super::access::{self, Import};
use super::validate::of_events;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::runtime::Servable;
use crate::runtime::functions::is_of_services;

/// What a component and its manifest are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The service that it would be a version of.
    pub service: String,
    /// The component's SHA-256.
    pub digest: String,
    /// The component's size.
    pub bytes: usize,
    /// How requests and events reach it: `wasi:http 0.2` or `wasi:http 0.3`,
    /// `hotdock:events` or `hotdock:events (async)`; else `nothing`.
    pub serves: String,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// Those of them that other services may import.
    pub provides: Vec<String>,
    /// The interfaces that it imports, and what each of them reaches.
    pub imports: Vec<Import>,
    /// What its manifest asks for without need, or may not get.
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

impl Description {
    /// Of a component with these exports and imports.
    pub(super) fn of(
        component: &[u8],
        manifest: &Manifest,
        exports: Vec<String>,
        imports: Vec<String>,
    ) -> Self {
        let servable = Servable::of(&exports);
        let mut notes = access::unused(&imports, manifest);
        let takes_events = servable.is_some_and(|servable| servable.events.is_some());
        if takes_events && manifest.subscriptions.is_empty() {
            notes.push(
                "no event reaches it: it exports a handler and the manifest has no [[subscribe]]"
                    .to_owned(),
            );
        }
        let routes = servable.as_ref().map_or(&[][..], |servable| servable.routes(manifest));
        notes.extend(of_events(routes).map(|route| {
            format!(
                "route {route}: on a host that takes events from outside ([events] accept) requests \
                 for {path} itself never reach the service, only those for what is below it",
                path = route.path
            )
        }));
        Self {
            service: manifest.service.to_string(),
            digest: Digest::of(component).to_string(),
            bytes: component.len(),
            serves: servable.map_or_else(|| "nothing".to_owned(), |servable| servable.to_string()),
            provides: exports.iter().filter(|export| is_of_services(export)).cloned().collect(),
            exports,
            notes,
            imports: access::imports(imports, manifest),
            routes: routes.iter().map(ToString::to_string).collect(),
            subscriptions: names(manifest.subscriptions.iter().map(|wanted| &wanted.name)),
            schedules: manifest.schedules.iter().map(ToString::to_string).collect(),
            migrations: names(manifest.migrations.iter().map(|migration| &migration.name)),
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.cloned().collect()
}
