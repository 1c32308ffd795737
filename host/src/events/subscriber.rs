//! Whoever has subscriptions: a service by its versions' manifests, or the
//! operator by the webhooks in the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::base;
use super::target::Target;
use super::webhook::WebhookTarget;
use crate::manifest::Subscription;
use crate::name::ServiceName;
use crate::service::{Registry, Service};
use crate::state::Store;

/// The operator's webhooks, and the store that has their cursors.
#[derive(Clone)]
pub struct Webhooks {
    name: ServiceName,
    store: Arc<Store>,
    endpoints: Arc<[(Subscription, Arc<WebhookTarget>)]>,
}

/// Whoever has subscriptions.
#[derive(Clone, Copy)]
pub(super) enum Subscriber<'a> {
    Service(&'a Arc<Service>),
    Webhooks(&'a Webhooks),
}

impl Webhooks {
    /// Endpoints whose cursors are in `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, targets: Vec<WebhookTarget>) -> Self {
        let endpoint = |target: WebhookTarget| (subscription(&target), Arc::new(target));
        let endpoints = targets.into_iter().map(endpoint).collect();
        Self { name: ServiceName::webhooks(), store, endpoints }
    }

    /// The same cursors with these endpoints. One that is as it was is the same: what is
    /// known of it holds.
    #[must_use]
    pub fn with(&self, targets: Vec<WebhookTarget>) -> Self {
        let endpoint = |target: WebhookTarget| {
            let before = self.target(&target.config().name).filter(|before| before.is_as(&target));
            (subscription(&target), before.cloned().unwrap_or_else(|| Arc::new(target)))
        };
        let endpoints = targets.into_iter().map(endpoint).collect();
        Self { name: self.name.clone(), store: Arc::clone(&self.store), endpoints }
    }

    /// The names of the endpoints.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.endpoints.iter().map(|(endpoint, _)| endpoint.name.clone()).collect()
    }

    /// The names of the endpoints that are new, gone or changed against `before`.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let names = self.endpoints.iter().chain(before.endpoints.iter());
        let names: BTreeSet<&str> = names.map(|(endpoint, _)| &*endpoint.name).collect();
        let address = |target: Option<&Arc<WebhookTarget>>| target.map(Arc::as_ptr);
        let changed = names
            .into_iter()
            .filter(|name| address(self.target(name)) != address(before.target(name)));
        changed.map(str::to_owned).collect()
    }

    /// Where the events of a subscription go, or of the one that it is a replay of.
    fn target(&self, subscription: &str) -> Option<&Arc<WebhookTarget>> {
        let base = base(subscription);
        let found = self.endpoints.iter().find(|(endpoint, _)| endpoint.name == base);
        found.map(|(_, target)| target)
    }

    /// Where their cursors are.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

fn subscription(target: &WebhookTarget) -> Subscription {
    let config = target.config();
    Subscription {
        name: config.name.clone(),
        from: config.from,
        attempts: config.attempts,
        backoff: config.backoff,
        concurrency: config.concurrency,
        ..Subscription::to(config.types.clone())
    }
}

impl<'a> Subscriber<'a> {
    pub(super) fn name(self) -> &'a ServiceName {
        match self {
            Self::Service(service) => &service.name,
            Self::Webhooks(webhooks) => &webhooks.name,
        }
    }

    pub(super) fn store(self) -> &'a Arc<Store> {
        match self {
            Self::Service(service) => &service.store,
            Self::Webhooks(webhooks) => &webhooks.store,
        }
    }

    /// The versions that have the traffic; webhooks have none.
    pub(super) fn versions(self) -> Vec<u64> {
        match self {
            Self::Service(service) => {
                service.traffic.versions().map(|version| version.id.number).collect()
            }
            Self::Webhooks(_) => Vec::new(),
        }
    }

    /// All that it wants; where two versions want the same, what the newest says
    /// comes first.
    pub(super) fn subscriptions(self) -> Vec<&'a Subscription> {
        match self {
            Self::Service(service) => service
                .traffic
                .versions()
                .flat_map(|version| &version.manifest.subscriptions)
                .collect(),
            Self::Webhooks(webhooks) => {
                webhooks.endpoints.iter().map(|(subscription, _)| subscription).collect()
            }
        }
    }

    /// What it says of a subscription, or of the one that a replay is of.
    pub(super) fn settings(self, subscription: &str) -> Option<&'a Subscription> {
        let base = base(subscription);
        self.subscriptions().into_iter().find(|subscription| subscription.name == base)
    }

    /// Whether a subscription's events go elsewhere now than to `target`.
    pub(super) fn has_another(self, subscription: &str, target: &Target) -> bool {
        match (self, target) {
            (Self::Webhooks(webhooks), Target::Webhook(before)) => {
                webhooks.target(subscription).is_none_or(|now| !Arc::ptr_eq(now, before))
            }
            // A service is asked for by its name each time.
            _ => false,
        }
    }

    /// Who handles a subscription's events.
    pub(super) fn target(self, registry: &Arc<Registry>, subscription: &str) -> Option<Target> {
        match self {
            Self::Service(service) => {
                Some(Target::Service { registry: Arc::clone(registry), name: service.name.clone() })
            }
            Self::Webhooks(webhooks) => {
                Some(Target::Webhook(Arc::clone(webhooks.target(subscription)?)))
            }
        }
    }
}
