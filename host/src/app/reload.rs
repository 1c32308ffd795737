//! What is read anew while the host runs: the token, the certificates that are trusted and the
//! webhooks.
//! Everything else is one value that does not change, and it is said what of it would.

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::endpoints::Endpoints;
use crate::admin::access::Access;
use crate::config::Config;
use crate::digest::Digest;
use crate::events::{Events, Webhooks};
use crate::outbound::Outbound;

/// Takes settings over that were read anew.
pub struct Reload {
    access: Access,
    outbound: Outbound,
    events: Events,
    endpoints: Endpoints,
    /// What holds, but for what waits for a restart.
    config: Mutex<Config>,
    certificates: Certificates,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What holds from now on.
    pub taken: Vec<String>,
    /// What is there no more.
    pub removed: Vec<String>,
    /// What was changed and holds after a restart.
    pub waits: Vec<&'static str>,
}

impl Reload {
    pub(super) fn new(
        access: Access,
        outbound: Outbound,
        events: Events,
        endpoints: Endpoints,
        config: Config,
    ) -> Self {
        let certificates = Certificates::of_the_start(digest_of_certificates);
        Self { access, outbound, events, endpoints, config: Mutex::new(config), certificates }
    }

    /// Takes over what can be. Reads files, and waits for them. Settings without a token take none
    /// away.
    ///
    /// # Errors
    /// When a webhook's keys cannot be used: all stays as it was.
    pub fn take(&self, new: &Config) -> Result<Reloaded, String> {
        let mut old = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reloaded = Reloaded { waits: differing(&old, new), ..Reloaded::default() };
        let before = self.events.webhooks();
        let webhooks = self.endpoints.webhooks(&new.webhooks, before.as_deref());
        let webhooks = webhooks.map_err(|error| error.to_string())?;
        if new.token.is_some() && old.token != new.token {
            self.access.set(new.token.clone());
            old.token.clone_from(&new.token);
            reloaded.taken.push("the admin token".to_owned());
        }
        // In any case: some may not have been there to be read.
        self.outbound.forget_certificates();
        if self.certificates.are_others(digest_of_certificates()) {
            reloaded.taken.push("certificates".to_owned());
        }
        if let Some(webhooks) = webhooks {
            self.take_webhooks(webhooks, before.as_deref(), &mut reloaded);
        }
        Ok(reloaded)
    }

    /// Waits for a moment until what was taken over is at work.
    pub async fn settle(&self) {
        self.events.reconcile().await;
    }

    /// Notes those that are new or changed, and those that are gone.
    fn take_webhooks(
        &self,
        webhooks: Webhooks,
        before: Option<&Webhooks>,
        reloaded: &mut Reloaded,
    ) {
        let names = webhooks.names();
        let changed = match before {
            Some(before) => webhooks.changed_since(before),
            None => names.clone(),
        };
        if !changed.is_empty() {
            self.events.set_webhooks(webhooks);
        }
        for name in changed {
            let is_there = names.contains(&name);
            let list = if is_there { &mut reloaded.taken } else { &mut reloaded.removed };
            list.push(format!("webhook {name}"));
        }
    }
}

/// What tells whether the certificates that are trusted are others than before.
struct Certificates {
    at_start: Arc<OnceLock<Digest>>,
    /// Since the settings were read anew.
    since: Mutex<Option<Digest>>,
}

impl Certificates {
    /// As they are now, by `digest`: read beside the start, which doesn't wait for hundreds of them.
    fn of_the_start(digest: fn() -> Digest) -> Self {
        let at_start = Arc::new(OnceLock::new());
        let reads = Arc::clone(&at_start);
        let reading = move || _ = reads.get_or_init(digest);
        // Without a thread they count from the first time on.
        _ = thread::Builder::new().name("certificates".to_owned()).spawn(reading);
        Self { at_start, since: Mutex::default() }
    }

    /// Whether these are others than when they were looked at before.
    fn are_others(&self, now: Digest) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let before = since.replace(now).unwrap_or_else(|| *self.at_start.get_or_init(|| now));
        before != now
    }
}

/// Of the certificates that the operating system, or `SSL_CERT_FILE` and `SSL_CERT_DIR`, name; who
/// uses them says which cannot be read.
fn digest_of_certificates() -> Digest {
    // What a pipe has it has once, for who uses them.
    let named = env::var_os("SSL_CERT_FILE");
    if named.is_some_and(|file| !Path::new(&file).is_file()) {
        return Digest::of(b"");
    }
    let found = rustls_native_certs::load_native_certs().certs;
    let parts: Vec<&[u8]> = found.iter().map(|certificate| certificate.as_ref()).collect();
    Digest::of_parts(&parts)
}

/// The settings that differ, but for those that are taken over.
fn differing(old: &Config, new: &Config) -> Vec<&'static str> {
    // By what is shown of them: none has anything that is not, but the token.
    let differs = |old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| {
        format!("{old:?}") != format!("{new:?}")
    };
    let settings: [(&str, &dyn std::fmt::Debug, &dyn std::fmt::Debug); 17] = [
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
    ];
    let found = settings.into_iter().filter(|(_, old, new)| differs(*old, *new));
    found.map(|(name, _, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bus, BusOptions};
    use crate::config::{FileConfig, OutboundConfig, Overrides};
    use crate::state::StoreOptions;

    const WEBHOOK: &str = "[[webhook]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9/\"\n\
                           types = [\">\"]\n";

    fn config(token: &str, file: &str) -> Config {
        let token = Some(token.parse().expect("a token"));
        let file = FileConfig::parse("hotdock.toml", file).expect("settings");
        Config::resolve(Overrides { token, ..Overrides::default() }, file)
    }

    fn reload(config: &Config, data: &Path) -> Reload {
        let outbound = Outbound::new(OutboundConfig::default());
        let endpoints = Endpoints::new(data, &outbound, &StoreOptions::default());
        let bus = Bus::open(&data.join("bus.db"), BusOptions::default()).expect("a bus");
        let webhooks = endpoints.webhooks(&config.webhooks, None).expect("webhooks");
        let events = Events::new(bus, Arc::default(), &data.join("stores"), webhooks);
        Reload::new(Access::new(config.token.clone()), outbound, events, endpoints, config.clone())
    }

    #[tokio::test]
    async fn the_token_is_taken_over_and_what_is_not_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let reload = reload(&config("correct-horse-battery", ""), folder.path());
        let new = config("another-horse-battery", "log = \"debug\"\n[http]\nmax-headers = 7\n");
        let reloaded = reload.take(&new).expect("taken");
        assert_eq!(reloaded.taken, ["the admin token"]);
        assert_eq!(reloaded.waits, ["log", "[http]"]);
        assert_eq!(reload.take(&new).expect("taken").taken, [""; 0]);
        let without = Config { token: None, ..new };
        assert_eq!(reload.take(&without).expect("taken").taken, [""; 0]);
        let another = config("correct-horse-battery", "");
        assert_eq!(reload.take(&another).expect("taken").taken[0], "the admin token");
    }

    #[tokio::test]
    async fn webhooks_are_taken_over_where_they_or_their_keys_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let token = "correct-horse-battery";
        let reload = reload(&config(token, ""), folder.path());
        let taken = |file: &str| reload.take(&config(token, file)).map(|all| all.taken);
        assert_eq!(taken(WEBHOOK).expect("taken"), ["webhook crm"]);
        assert_eq!(taken(WEBHOOK).expect("taken"), [""; 0]);
        let signed = format!("{WEBHOOK}secret-file = \"{}\"\n", keys.display());
        assert!(taken(&signed).expect_err("no keys").contains("webhook crm: secret-file"));
        std::fs::write(&keys, "a key that is long enough").expect("written");
        assert_eq!(taken(&signed).expect("taken"), ["webhook crm"]);
        assert_eq!(taken(&signed).expect("taken"), [""; 0]);
        std::fs::write(&keys, "another that is long enough").expect("written");
        assert_eq!(taken(&signed).expect("taken"), ["webhook crm"]);
        let reloaded = reload.take(&config(token, "")).expect("taken");
        assert_eq!((reloaded.taken, reloaded.removed), (vec![], vec!["webhook crm".to_owned()]));
        let reloaded = reload.take(&config(token, "")).expect("taken");
        assert_eq!((reloaded.taken, reloaded.removed), (vec![], vec![]));
    }

    #[test]
    fn certificates_are_told_where_they_are_others() {
        let certificates = Certificates::of_the_start(|| Digest::of(b"a"));
        let others = |bytes: &[u8]| certificates.are_others(Digest::of(bytes));
        assert!(!others(b"a") && !others(b"a"));
        assert!(others(b"b") && !others(b"b"));
    }
}
