//! What is read anew while the host runs: the token and the certificates that are trusted.
//! Everything else is one value that does not change, and it is said what of it would.

use std::sync::{Mutex, PoisonError};

use crate::admin::access::Access;
use crate::config::Config;
use crate::outbound::Outbound;

/// Takes settings over that were read anew.
pub struct Reload {
    access: Access,
    outbound: Outbound,
    /// What holds, but for what waits for a restart.
    config: Mutex<Config>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What holds from now on.
    pub taken: Vec<&'static str>,
    /// What was changed and holds after a restart.
    pub waits: Vec<&'static str>,
}

impl Reload {
    pub(super) fn new(access: Access, outbound: Outbound, config: Config) -> Self {
        Self { access, outbound, config: Mutex::new(config) }
    }

    /// Takes over what can be.
    ///
    /// # Errors
    /// When the token is gone and the admin address can be reached from elsewhere: all stays
    /// as it was.
    pub fn take(&self, new: &Config) -> Result<Reloaded, String> {
        let mut old = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if new.token.is_none() && !old.admin.ip().is_loopback() {
            return Err(format!(
                "there is no token any more, and the admin address {} can be reached from \
                 elsewhere: name one with --token-file",
                old.admin
            ));
        }
        let mut reloaded = Reloaded { waits: differing(&old, new), ..Reloaded::default() };
        if old.token != new.token {
            self.access.set(new.token.clone());
            old.token.clone_from(&new.token);
            reloaded.taken.push("the admin token");
        }
        self.outbound.forget_certificates();
        reloaded.taken.push("certificates");
        Ok(reloaded)
    }
}

/// The settings that differ, but for those that are taken over.
fn differing(old: &Config, new: &Config) -> Vec<&'static str> {
    // By what is shown of them: none has anything that is not, but the token.
    let differs = |old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| {
        format!("{old:?}") != format!("{new:?}")
    };
    let settings: [(&str, &dyn std::fmt::Debug, &dyn std::fmt::Debug); 18] = [
        ("folder", &old.folder, &new.folder),
        ("listen", &old.listen, &new.listen),
        ("admin", &old.admin, &new.admin),
        ("data", &old.data, &new.data),
        ("secrets", &old.secrets, &new.secrets),
        ("drain", &old.drain, &new.drain),
        ("compile-timeout", &old.compile_timeout, &new.compile_timeout),
        ("log-format", &old.log_format, &new.log_format),
        ("log", &old.log, &new.log),
        ("log-keep", &old.log_keep, &new.log_keep),
        ("host-memory", &old.host_memory, &new.host_memory),
        ("guest-memory", &old.guest_memory, &new.guest_memory),
        ("[deploy] keep-versions", &old.keep_versions, &new.keep_versions),
        ("[deploy] upload-idle-timeout", &old.upload_idle_timeout, &new.upload_idle_timeout),
        ("[http]", &old.http, &new.http),
        ("[outbound]", &old.outbound, &new.outbound),
        ("[events]", &old.events, &new.events),
        ("[[webhook]]", &old.webhooks, &new.webhooks),
    ];
    let found = settings.into_iter().filter(|(_, old, new)| differs(*old, *new));
    found.map(|(name, _, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OutboundConfig;

    #[tokio::test]
    async fn the_token_is_taken_over_and_what_is_not_is_named() {
        let token = |text: &str| Some(text.parse().expect("a token"));
        let config = Config { token: token("correct-horse-battery"), ..Config::default() };
        let outbound = Outbound::new(OutboundConfig::default());
        let access = Access::new(config.token.clone());
        let reload = Reload::new(access, outbound, config.clone());
        let mut new = Config { token: token("another-horse-battery"), ..config };
        new.http.max_headers += 1;
        new.log = "debug".to_owned();
        let reloaded = reload.take(&new).expect("taken");
        assert_eq!(reloaded.taken, ["the admin token", "certificates"]);
        assert_eq!(reloaded.waits, ["log", "[http]"]);
        assert_eq!(reload.take(&new).expect("taken").taken, ["certificates"]);
    }
}
