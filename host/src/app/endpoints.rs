//! The operator's webhooks, at the start and whenever the settings are read anew.

use std::path::{Path, PathBuf};

use crate::config::WebhookConfig;
use crate::events::Webhooks;
use crate::events::webhook::{KeyError, WebhookTarget};
use crate::name::ServiceName;
use crate::outbound::Outbound;
use crate::state::{Store, StoreOptions};

/// What webhooks are made with.
pub(super) struct Endpoints {
    /// Where their cursors are.
    path: PathBuf,
    outbound: Outbound,
    stores: StoreOptions,
}

impl Endpoints {
    pub(super) fn new(data: &Path, outbound: &Outbound, stores: &StoreOptions) -> Self {
        let path = data.join("stores").join(format!("{}.db", ServiceName::webhooks()));
        Self { path, outbound: outbound.clone(), stores: stores.clone() }
    }

    /// Those that the operator names; none where there never were any. Reads their keys. Their
    /// cursors are in a store of their own, the same as those of `before`.
    ///
    /// # Errors
    /// When the keys of one cannot be used.
    pub(super) fn webhooks(
        &self,
        configs: &[WebhookConfig],
        before: Option<&Webhooks>,
    ) -> Result<Option<Webhooks>, KeyError> {
        let target =
            |config: &WebhookConfig| WebhookTarget::new(config.clone(), self.outbound.clone());
        let targets = configs.iter().map(target).collect::<Result<Vec<_>, _>>()?;
        Ok(match before {
            Some(before) => Some(before.with(targets)),
            None if targets.is_empty() => None,
            None => {
                let name = ServiceName::webhooks();
                let store = Store::new(self.path.clone(), name.as_str(), self.stores.clone());
                Some(Webhooks::new(store, targets))
            }
        })
    }
}
