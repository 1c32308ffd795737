//! How much a computing guest is told to do.

use crate::work::compute;

/// So many rounds as the query's `rounds` says, and what they came to.
pub fn of_target(target: &str) -> u64 {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let rounds = query.split('&').find_map(|pair| pair.strip_prefix("rounds="));
    compute(rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or_default())
}
