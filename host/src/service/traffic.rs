//! Traffic: which of a service's versions gets which of its requests.
//!
//! Immutable: a deployment builds another one and stores it with the routes, in
//! one step. Where one version has everything, choosing costs a comparison.

mod plan;
mod ticket;

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::Version;
use super::routes::leads_to;
use crate::digest::Digest;
use crate::manifest::Sticky;
use crate::name::ServiceName;
use crate::runtime::calls::Place;

pub use plan::{Rule, Share, TrafficError, TrafficPlan};
pub use ticket::Ticket;

/// The versions of a service that have traffic, and how they share it.
#[derive(Debug)]
pub struct Traffic {
    /// The newest first: while it is given more and more, it takes keys from the
    /// older ones and gives none back, so that each key moves at most once.
    shares: Vec<(Arc<Version>, u8)>,
    plan: TrafficPlan,
}

impl Traffic {
    /// All of it to one version.
    #[must_use]
    pub fn all(version: &Arc<Version>) -> Self {
        let plan = TrafficPlan::all(version.id.number);
        Self { shares: vec![(Arc::clone(version), 100)], plan }
    }

    /// Shared as the plan says; `versions` has each that it names.
    ///
    /// # Errors
    /// When the plan is none, or names a version that isn't there.
    pub fn new(plan: TrafficPlan, versions: &[Arc<Version>]) -> Result<Self, TrafficError> {
        plan.check()?;
        let mut shares = Vec::with_capacity(plan.versions.len());
        for &Share { version, weight } in &plan.versions {
            let found = versions.iter().find(|each| each.id.number == version);
            let found = found.ok_or(TrafficError::NoSuchVersion(version))?;
            shares.push((Arc::clone(found), weight));
        }
        shares.sort_by_key(|(version, _)| std::cmp::Reverse(version.id.number));
        Ok(Self { shares, plan })
    }

    /// What it was made from.
    #[must_use]
    pub fn plan(&self) -> &TrafficPlan {
        &self.plan
    }

    /// The version with the greatest share, the older of two equals. Its limits
    /// are the service's.
    #[must_use]
    pub fn primary(&self) -> &Arc<Version> {
        let greatest = Share::greatest(&self.plan.versions);
        let found = self.versions().find(|version| Some(version.id.number) == greatest);
        found.expect("a plan names at least one version, and each is there")
    }

    /// Every version that may get a request, the newest first.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &Arc<Version>> {
        self.shares.iter().map(|(version, _)| version)
    }

    /// Whether more than one version may get a request.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.shares.len() > 1
    }

    /// The version that this request goes to: where a rule names one, to that;
    /// else by the weights. Only to one with a route that leads to it.
    pub fn choose(&self, head: &Parts, ticket: &mut Ticket) -> &Arc<Version> {
        match self.shares.as_slice() {
            [(only, _)] => only,
            _ => self.choose_among(head, ticket),
        }
    }

    /// The version that a call goes to from an invocation with this place, among those that
    /// have what it calls.
    pub(crate) fn choose_for_call(
        &self,
        place: &Place,
        takes: impl Fn(&Version) -> bool,
    ) -> Option<&Arc<Version>> {
        let version = match (self.shares.as_slice(), place) {
            ([(only, _)], _) => only,
            (_, Place::Key(key)) => self.at(self.point(key.as_bytes()), &takes),
            (_, Place::Request { head, token, point }) => {
                let ruled = self.ruled(&head.headers, &takes);
                ruled.unwrap_or_else(|| {
                    let sticky = match &self.plan.sticky {
                        Some(Sticky::Cookie) => token.map(|token| self.point(&token.to_be_bytes())),
                        Some(Sticky::Header(name)) => {
                            let value = head.headers.get(name.as_str());
                            value.map(|value| self.point(value.as_bytes()))
                        }
                        None => None,
                    };
                    self.at(sticky.unwrap_or(*point), &takes)
                })
            }
        };
        takes(version).then_some(version)
    }

    /// The version that the first rule names that applies, if there is one.
    fn ruled(
        &self,
        headers: &HeaderMap,
        takes: impl Fn(&Version) -> bool,
    ) -> Option<&Arc<Version>> {
        let rule = self.plan.rules.iter().find(|rule| rule.applies(headers))?;
        self.versions().find(|version| version.id.number == rule.version && takes(version))
    }

    /// The version that deliveries of this partition key go to: the same one for
    /// as long as the weights stay.
    #[must_use]
    pub fn version_for_key(&self, key: &str) -> &Arc<Version> {
        self.version_for_key_among(key, |_| true)
    }

    /// The same among the versions that `take` the event, if there are any.
    #[must_use]
    pub fn version_for_key_among(
        &self,
        key: &str,
        take: impl Fn(&Version) -> bool,
    ) -> &Arc<Version> {
        match self.shares.as_slice() {
            [(only, _)] => only,
            _ => self.at(self.point(key.as_bytes()), take),
        }
    }

    fn choose_among(&self, head: &Parts, ticket: &mut Ticket) -> &Arc<Version> {
        let at_any_host = ticket.is_by_name();
        let takes = |version: &Version| leads_to(version.routes(), head, at_any_host);
        if let Some(version) = self.ruled(&head.headers, takes) {
            return version;
        }
        let point = match &self.plan.sticky {
            Some(Sticky::Cookie) => self.point(&ticket.token().to_be_bytes()),
            Some(Sticky::Header(name)) => match head.headers.get(name.as_str()) {
                Some(value) => self.point(value.as_bytes()),
                None => ticket.point(),
            },
            None => ticket.point(),
        };
        self.at(point, takes)
    }

    /// A key's place among a hundred. Another one for each service and newest
    /// version, so that it isn't always the same keys that try things out.
    fn point(&self, key: &[u8]) -> u8 {
        let newest = &self.shares[0].0.id;
        let service: &ServiceName = &newest.service;
        let number = newest.number.to_be_bytes();
        let digest = Digest::of_parts(&[service.as_str().as_bytes(), &number, key]);
        let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
        u8::try_from(u64::from_be_bytes(*first) % 100).expect("less than 100")
    }

    /// The version that has this point; where it doesn't take what comes, the one
    /// with the greatest share that does.
    fn at(&self, point: u8, takes: impl Fn(&Version) -> bool) -> &Arc<Version> {
        let mut end = 0;
        let mut shares = self.shares.iter();
        let meant = shares.find(|(_, weight)| {
            end += weight;
            point < end
        });
        let (meant, _) = meant.expect("the weights sum up to 100");
        if takes(meant) {
            return meant;
        }
        let others = self.shares.iter().filter(|(version, _)| takes(version));
        others.max_by_key(|(_, weight)| *weight).map_or(meant, |(version, _)| version)
    }
}

#[cfg(test)]
mod tests;
