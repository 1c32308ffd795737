//! Claims: which plugin file may deploy a service. One file serves one service,
//! and what one file claims no other gets, from before the first migration on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::plugin_file::Stem;
use crate::service::ServiceName;

/// The claims of serving files and of candidates.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_service: Mutex<HashMap<ServiceName, Stem>>,
}

/// A candidate's claim. Dropped without [`keep`](Self::keep), it goes back to
/// whoever had it.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    service: ServiceName,
    before: Option<Stem>,
    kept: bool,
}

impl Claims {
    /// Claims `service` for `file`; `is_gone` tells whether a file that has it
    /// is there no more (it was renamed to this one).
    pub(super) fn claim(
        self: &Arc<Self>,
        service: &ServiceName,
        file: &Stem,
        is_gone: impl FnOnce(&Stem) -> bool,
    ) -> Result<Claim, Stem> {
        let mut claims = self.lock();
        let before = claims.get(service).cloned();
        if let Some(holder) = before.as_ref().filter(|holder| *holder != file)
            && !is_gone(holder)
        {
            return Err(holder.clone());
        }
        claims.insert(service.clone(), file.clone());
        Ok(Claim { claims: Arc::clone(self), service: service.clone(), before, kept: false })
    }

    /// Gives up what `file` claims of `service`; false where another file has it.
    pub(super) fn release(&self, service: &ServiceName, file: &Stem) -> bool {
        let mut claims = self.lock();
        let held = claims.get(service) == Some(file);
        if held {
            claims.remove(service);
        }
        held
    }

    pub(super) fn holder(&self, service: &ServiceName) -> Option<Stem> {
        self.lock().get(service).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Stem>> {
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
        self.before.as_ref()
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
        let refused = claims.claim(&service, &one, |_| false).expect("free");
        assert_eq!(claims.claim(&service, &two, |_| false).expect_err("taken"), one);
        drop(refused);
        claims.claim(&service, &two, |_| false).expect("free again").keep();
        // A newer candidate of the same file that is refused leaves the claim.
        drop(claims.claim(&service, &two, |_| false).expect("its own"));
        assert_eq!(claims.holder(&service), Some(two.clone()));
        // Renamed: a failed candidate gives it back, one that serves keeps it.
        drop(claims.claim(&service, &one, |_| true).expect("two is gone"));
        assert_eq!(claims.holder(&service), Some(two.clone()));
        claims.claim(&service, &one, |_| true).expect("two is gone").keep();
        assert!(!claims.release(&service, &two));
        assert!(claims.release(&service, &one));
        assert_eq!(claims.holder(&service), None);
    }
}
