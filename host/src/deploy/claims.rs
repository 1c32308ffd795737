//! Claims: which plugin file may deploy a service. One file serves one service,
//! and what one file claims no other file gets, from before the first migration
//! on. An upload takes a service over from its file, and any file takes it back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::origin::Origin;
use super::plugin_file::Stem;
use crate::name::ServiceName;

/// The claims of serving files and of candidates.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_service: Mutex<HashMap<ServiceName, Origin>>,
}

/// A candidate's claim. Dropped without [`keep`](Self::keep), it goes back to
/// whoever had it.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    service: ServiceName,
    before: Option<Origin>,
    kept: bool,
}

impl Claims {
    /// Claims `service` for `origin`; `is_gone` tells whether a file that has it
    /// is there no more (it was renamed to this one).
    pub(super) fn claim(
        self: &Arc<Self>,
        service: &ServiceName,
        origin: &Origin,
        is_gone: impl FnOnce(&Stem) -> bool,
    ) -> Result<Claim, Stem> {
        let mut claims = self.lock();
        let before = claims.get(service).cloned();
        let other_file = match (&before, origin) {
            (Some(Origin::File(holder)), Origin::File(file)) if holder != file => Some(holder),
            _ => None,
        };
        if let Some(holder) = other_file.filter(|holder| !is_gone(holder)) {
            return Err(holder.clone());
        }
        claims.insert(service.clone(), origin.clone());
        Ok(Claim { claims: Arc::clone(self), service: service.clone(), before, kept: false })
    }

    /// Gives up what `file` claims of `service`; false where it does not have it.
    pub(super) fn release(&self, service: &ServiceName, file: &Stem) -> bool {
        let mut claims = self.lock();
        let held = claims.get(service).and_then(Origin::file) == Some(file);
        if held {
            claims.remove(service);
        }
        held
    }

    /// The service is gone, whoever claimed it.
    pub(super) fn release_all(&self, service: &ServiceName) {
        self.lock().remove(service);
    }

    /// Whether someone claims the service.
    pub(super) fn is_claimed(&self, service: &ServiceName) -> bool {
        self.lock().contains_key(service)
    }

    /// The file that claims the service.
    pub(super) fn holder(&self, service: &ServiceName) -> Option<Stem> {
        self.lock().get(service).and_then(Origin::file).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Origin>> {
        self.by_service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The candidate serves: the claim stays with its file.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// The file from which the service is taken over.
    pub(super) fn taken_from(&self) -> Option<&Stem> {
        self.before.as_ref().and_then(Origin::file)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut claims = self.claims.lock();
        match self.before.take() {
            Some(before) => claims.insert(self.service.clone(), before),
            None => claims.remove(&self.service),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_one_files_until_it_is_gone() {
        let claims = Arc::new(Claims::default());
        let service: ServiceName = "cart".parse().expect("a name");
        let (one, two) = (Stem::new("one"), Stem::new("two"));
        let file = |stem: &Stem| Origin::File(stem.clone());
        let refused = claims.claim(&service, &file(&one), |_| false).expect("free");
        assert_eq!(claims.claim(&service, &file(&two), |_| false).expect_err("taken"), one);
        drop(refused);
        claims.claim(&service, &file(&two), |_| false).expect("free again").keep();
        // A newer candidate of the same file that is refused leaves the claim.
        drop(claims.claim(&service, &file(&two), |_| false).expect("its own"));
        assert_eq!(claims.holder(&service), Some(two.clone()));
        // Renamed: a failed candidate gives it back, one that serves keeps it.
        drop(claims.claim(&service, &file(&one), |_| true).expect("two is gone"));
        assert_eq!(claims.holder(&service), Some(two.clone()));
        claims.claim(&service, &file(&one), |_| true).expect("two is gone").keep();
        assert!(!claims.release(&service, &two));
        assert!(claims.release(&service, &one));
        assert!(!claims.is_claimed(&service));
    }

    #[test]
    fn an_upload_takes_over_from_a_file_and_a_file_from_an_upload() {
        let claims = Arc::new(Claims::default());
        let service: ServiceName = "cart".parse().expect("a name");
        let file = Origin::File(Stem::new("cart"));
        claims.claim(&service, &file, |_| false).expect("free").keep();
        claims.claim(&service, &Origin::Upload, |_| false).expect("taken over").keep();
        assert_eq!(claims.holder(&service), None);
        assert!(claims.is_claimed(&service));
        assert!(!claims.release(&service, &Stem::new("cart")));
        claims.claim(&service, &file, |_| false).expect("taken back").keep();
        assert_eq!(claims.holder(&service), Some(Stem::new("cart")));
    }
}
