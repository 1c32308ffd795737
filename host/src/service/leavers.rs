//! Whose requests were left, each counted once: a version is not to be judged by what a single
//! client does, however often it does it.
//!
//! Once for all versions of the service together, not for each of them. Where versions are
//! alike, it is then chance which of them a client leaves first, as it is for its requests; counted
//! for each, a small share of the traffic would have more of its clients' first leavings.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::config::site;
use crate::name::ServiceName;

/// So many are known at the most; who comes then does not count.
const MOST: usize = 4096;

/// The clients that left since they were forgotten.
#[derive(Debug, Default)]
pub struct Leavers {
    seen: Mutex<HashSet<Leaver>>,
}

/// Who may leave.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Leaver {
    Site(Ipv6Addr),
    Service(ServiceName),
}

impl Leavers {
    /// One left. Returns whether it, or one of its site, had not done so before.
    pub fn is_first(&self, client: IpAddr) -> bool {
        self.left(Leaver::Site(site(client)))
    }

    /// The same of a service that asked by name.
    pub fn is_first_of(&self, service: &ServiceName) -> bool {
        self.left(Leaver::Service(service.clone()))
    }

    /// Each counts again.
    pub fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = HashSet::new();
    }

    fn left(&self, leaver: Leaver) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() < MOST && seen.insert(leaver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_leaves_once_until_it_is_forgotten() {
        let leavers = Leavers::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(leavers.is_first(address("192.0.2.1")));
        assert!(!leavers.is_first(address("192.0.2.1")));
        assert!(leavers.is_first(address("192.0.2.2")));
        assert!(leavers.is_first(address("2001:db8::1")));
        assert!(!leavers.is_first(address("2001:db8::2")), "of the same site");
        let cart = "cart".parse().expect("a name");
        assert!(leavers.is_first_of(&cart) && !leavers.is_first_of(&cart));
        leavers.forget();
        assert!(leavers.is_first(address("192.0.2.1")));
    }

    #[test]
    fn of_more_than_are_known_none_counts() {
        let leavers = Leavers::default();
        let address =
            |number: usize| IpAddr::from(u32::try_from(number).expect("small").to_be_bytes());
        let counted = (0..2 * MOST).filter(|number| leavers.is_first(address(*number))).count();
        assert_eq!(counted, MOST);
    }
}
