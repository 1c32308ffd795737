//! A version: one component and one manifest of a service, ready to run.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::VersionMetrics;
use super::lease::{Lease, LeaseCount};
use crate::digest::Digest;
use crate::manifest::{Manifest, Route};
use crate::name::VersionId;
use crate::runtime::Pool;
use crate::runtime::functions::Interface;

/// A loaded version. Immutable; shared by all who hold a lease on it.
#[derive(Debug)]
pub struct Version {
    /// Its name and number.
    pub id: VersionId,
    /// The component's digest.
    pub digest: Digest,
    /// What it declares.
    pub manifest: Arc<Manifest>,
    /// Its instances.
    pub pool: Pool,
    /// How its requests end, for who compares it with another version.
    pub metrics: Arc<VersionMetrics>,
    pub(super) leases: LeaseCount,
    ended: CancellationToken,
}

impl Version {
    /// A version whose instances come from `pool`.
    #[must_use]
    pub fn new(id: VersionId, digest: Digest, manifest: Arc<Manifest>, pool: Pool) -> Arc<Self> {
        Arc::new(Self {
            id,
            digest,
            manifest,
            pool,
            metrics: Arc::default(),
            leases: LeaseCount::default(),
            ended: CancellationToken::new(),
        })
    }

    /// The requests that it answers.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        self.pool.servable().routes(&self.manifest)
    }

    /// The interfaces through which other services may call it.
    #[must_use]
    pub fn provides(&self) -> &[Interface] {
        self.pool.program().provides()
    }

    /// The interfaces that other services provide to it.
    #[must_use]
    pub fn uses(&self) -> &[Interface] {
        self.pool.program().uses()
    }

    /// Whether it may call or ask any other service.
    #[must_use]
    pub fn calls(&self) -> bool {
        !(self.manifest.capabilities.calls.is_empty() && self.uses().is_empty())
    }

    /// Takes a lease, or `None` when the version is retired.
    #[must_use]
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        Lease::take(self)
    }

    /// No new leases from here on; idle instances are freed at once.
    pub fn retire(&self) {
        self.leases.retire();
        self.pool.close();
    }

    /// Resolves when the version is retired and its last lease is gone.
    pub async fn drained(&self) {
        self.leases.drained().await;
    }

    /// Ends the invocations that still run on it: its drain is over.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when its drain is over.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// How many leases are out.
    #[must_use]
    pub fn lease_count(&self) -> u64 {
        self.leases.count()
    }
}
