//! Step 5: the traffic moves to the new version, in one step.

use std::sync::Arc;

use super::board::{self, Serving};
use super::claims::Claim;
use super::parts::Parts;
use super::plugin_file::Part;
use super::receive::Candidate;
use super::record::VersionRecord;
use super::refusal::{Refusal, Stop};
use super::settle::Change;
use super::validate::{renamed_from, route_conflicts};
use super::warm::Warmed;
use crate::service::{Traffic, Version};

/// Gives the version its service's traffic. Returns the versions that lost theirs.
///
/// `host.db` is committed first. A host that dies between the two has served
/// the old version only, and comes back with the new one: it is recorded whole,
/// and its component and code are synced. The other way round, requests would be
/// answered by a version that the next start knows nothing of.
pub(super) async fn swap(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    claim: Claim,
    warmed: &Warmed,
) -> Result<Vec<Arc<Version>>, Stop> {
    // Held to the end, so that no other service takes a route in between and
    // the swap, once recorded, cannot be refused.
    let _swapping = parts.swapping.lock().await;
    let conflicts = route_conflicts(parts, candidate, warmed.version.routes());
    if !conflicts.is_empty() {
        let reasons = conflicts.iter().map(ToString::to_string).collect();
        return Err(Refusal { blocked: true, ..candidate.refused(reasons) }.into());
    }
    let record = VersionRecord {
        id: warmed.version.id.clone(),
        component: candidate.digest,
        manifest: candidate.text.clone(),
        file: candidate.file.clone(),
        deployed_at: board::now(),
    };
    let serving = Serving { file: record.file.clone(), deployed_at: record.deployed_at.clone() };
    let recorded = parts.blocking(move |parts| parts.record.swap(&record)).await;
    let forgotten = recorded.map_err(|error| candidate.refused(vec![error.to_string()]))?;
    if forgotten {
        parts.sweep();
    }
    let mut replaced = Vec::new();
    if let Some(renamed) = renamed_from(parts, candidate) {
        // First, as the new name may have the same routes.
        if let Some(service) = parts.registry.remove(&renamed) {
            replaced.extend(service.traffic.versions().cloned());
        }
        parts.claims.release(&renamed, &candidate.file);
    }
    let service = &warmed.version.id.service;
    let swapped = parts.registry.share(service, Traffic::all(&warmed.version), &warmed.store);
    replaced.extend(swapped.expect("its routes were free, and nothing else swaps"));
    if let Some(before) = claim.taken_from().filter(|before| **before != candidate.file) {
        // What is still known of the file that this one was renamed from goes.
        parts.note(before, Part::Component, Change::Gone);
    }
    claim.keep();
    parts.board.serves(warmed.version.id.service.clone(), serving);
    Ok(replaced)
}
