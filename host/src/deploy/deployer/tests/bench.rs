//! A deployer in folders of its own, with an engine that is the real one and a
//! compiler that knows a few components.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::bus::{Bus, BusOptions};
use crate::config::OutboundConfig;
use crate::deploy::{DeployConfig, Deployer, Notice, Status};
use crate::digest::Digest;
use crate::events::Events;
use crate::outbound::Outbound;
use crate::runtime::{Runtime, compatibility_key, compile};
use crate::service::{Registry, Version};
use crate::state::StoreOptions;

/// Far more than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One engine for all tests of the process: each reserves its address space.
pub(super) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new(Outbound::new(OutboundConfig::default())).expect("an engine"));

/// A component and its code.
type Prepared = (Vec<u8>, Vec<u8>);

/// The components that the tests' compiler knows.
static PREPARED: LazyLock<BTreeMap<&str, Prepared>> = LazyLock::new(|| {
    let mut components = BTreeMap::from([
        ("nothing", b"\0asm\x0d\0\x01\0".to_vec()),
        ("unlinkable", wat::parse_str(UNLINKABLE).expect("a component")),
    ]);
    for name in ["one", "two", "three"] {
        components.insert(name, servable(name));
    }
    let compiled = |wasm: Vec<u8>| {
        let code = compile(&wasm).expect("code");
        (wasm, code)
    };
    components.into_iter().map(|(name, wasm)| (name, compiled(wasm))).collect()
});

const UNLINKABLE: &str = r#"(component
    (import "wasi:nobody/this" (instance (export "f" (func))))
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $out))
    (core module $m (func (export "handle") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func $handle (param "request" (own $request)) (param "response-out" (own $out))
        (canon lift (core func $i "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

pub(super) struct Bench {
    pub(super) deployer: Deployer,
    pub(super) registry: Arc<Registry>,
    pub(super) folders: TempDir,
    notices: broadcast::Receiver<Notice>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let folders = tempfile::tempdir().expect("a folder");
        let code = folders.path().join("code");
        for folder in ["plugins", "data", "code"] {
            fs::create_dir(folders.path().join(folder)).expect("a folder");
        }
        for (wasm, compiled) in PREPARED.values() {
            fs::write(code.join(Digest::of(wasm).to_string()), compiled).expect("code");
        }
        make_compiler(folders.path());
        let bench = Self::begin(folders, |_| {}).await;
        bench.ready().await;
        bench
    }

    async fn begin(folders: TempDir, adjust: impl FnOnce(&mut DeployConfig)) -> Self {
        let (plugins, data) = (folders.path().join("plugins"), folders.path().join("data"));
        let mut config = DeployConfig { folder: plugins, data, ..DeployConfig::default() };
        config.compiler = folders.path().join("compiler");
        config.pair = Duration::from_millis(5);
        config.quiet = Duration::from_millis(30);
        config.rescan = Duration::from_millis(500);
        adjust(&mut config);
        let registry = Arc::new(Registry::default());
        let (runtime, options) = (RUNTIME.clone(), StoreOptions::default());
        let bus = Bus::open(&config.data.join("bus.db"), BusOptions::default()).expect("a bus");
        let stores = config.data.join("stores");
        let events = Events::new(bus, Arc::clone(&registry), &stores, None);
        let deployer =
            Deployer::start(config, runtime, Arc::clone(&registry), options, events).await;
        let deployer = deployer.expect("a deployer");
        Self { notices: deployer.notices(), deployer, registry, folders }
    }

    /// Stops, has `meanwhile` done, and starts again. Not ready yet.
    pub(super) async fn restart(
        self,
        meanwhile: impl FnOnce(&Path),
        adjust: impl FnOnce(&mut DeployConfig),
    ) -> Self {
        self.deployer.shutdown().await;
        let Self { deployer, folders, .. } = self;
        drop(deployer);
        meanwhile(folders.path());
        Self::begin(folders, adjust).await
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folders.path().join("plugins").join(name)
    }

    pub(super) fn drop_component(&self, stem: &str, name: &str) {
        self.drop_bytes(&format!("{stem}.wasm"), &component(name));
    }

    /// As `cp` does it.
    pub(super) fn drop_bytes(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    /// Has the compiler wait, or go on.
    pub(super) fn close_compiler(&self, closed: bool) {
        let sign = self.folders.path().join("closed");
        let done = if closed { fs::write(sign, "") } else { fs::remove_file(sign) };
        done.expect("signed");
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    pub(super) fn version(&self, service: &str) -> Option<Arc<Version>> {
        let snapshot = self.registry.load();
        snapshot.services.get(service).map(|service| Arc::clone(service.traffic.primary()))
    }

    pub(super) async fn ready(&self) {
        self.deployer.status().ready().await;
    }

    pub(super) fn status(&self) -> Status {
        self.deployer.status().read()
    }

    pub(super) async fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        let found = timeout(PATIENCE, async {
            loop {
                let notice = self.notices.recv().await.expect("a notice");
                if wanted(&notice) {
                    return notice;
                }
            }
        });
        match found.await {
            Ok(notice) => notice,
            Err(_) => panic!("nothing came; status: {:#?}", self.status()),
        }
    }

    /// The next version to serve and its routes; a refusal before it fails the test.
    pub(super) async fn serving(&mut self) -> String {
        match self.until(is_outcome).await {
            Notice::Serving { version, routes, .. } => format!("{version} {}", routes.join(" ")),
            other => panic!("{other:?}"),
        }
    }

    /// The next refusal's reasons; a version that serves before it fails the test.
    pub(super) async fn refused(&mut self) -> Vec<String> {
        match self.until(is_outcome).await {
            Notice::Refused { reasons, .. } => reasons,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn until_status(&self, wanted: impl Fn(&Status) -> bool) {
        let found = timeout(PATIENCE, async {
            while !wanted(&self.status()) {
                tokio::task::yield_now().await;
            }
        });
        assert!(found.await.is_ok(), "it never came to be; status: {:#?}", self.status());
    }

    /// Everything announced since it was last asked.
    pub(super) fn announced(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }

    /// Looks without pause whether the service is there.
    pub(super) fn watch_for_a_gap(&self, service: &'static str) -> GapWatch {
        let stop = Arc::new(AtomicBool::new(false));
        let (registry, stopped) = (Arc::clone(&self.registry), Arc::clone(&stop));
        let watching = thread::spawn(move || {
            let mut gap = false;
            while !stopped.load(Ordering::Relaxed) {
                gap |= !registry.load().services.contains_key(service);
            }
            gap
        });
        GapWatch { stop, watching }
    }
}

pub(super) struct GapWatch {
    stop: Arc<AtomicBool>,
    watching: thread::JoinHandle<bool>,
}

impl GapWatch {
    pub(super) fn had_a_gap(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.join().expect("it looked")
    }
}

/// A component that the tests' compiler knows: `one`, `two` and `three` can be
/// served; `nothing` exports nothing, `unlinkable` imports what nobody provides.
pub(super) fn component(name: &str) -> Vec<u8> {
    PREPARED[name].0.clone()
}

pub(super) fn digest(name: &str) -> String {
    Digest::of(&PREPARED[name].0).to_string()
}

fn is_outcome(notice: &Notice) -> bool {
    matches!(notice, Notice::Serving { .. } | Notice::Refused { .. })
}

/// A component that can be served; `name` makes its bytes its own.
fn servable(name: &str) -> Vec<u8> {
    let text = UNLINKABLE
        .replace("(import \"wasi:nobody/this\" (instance (export \"f\" (func))))", "")
        .replace("(component", &format!("(component (@custom \"test\" \"{name}\")"));
    wat::parse_str(text).expect("a component")
}

/// Gives out prepared code, as compiling takes a process that is a
/// compiler. It waits while the test has it closed.
fn make_compiler(folder: &Path) {
    let (code, key) = (folder.join("code"), compatibility_key());
    let script = format!(
        "#!/bin/sh\ncode={}/$(sha256sum < \"$2\" | cut -c1-64)\n\
         while [ -e {folder}/closed ]; do sleep 0.01; done\n\
         [ -f \"$code\" ] || {{ echo 'not prepared' >&2; exit 1; }}\n\
         cp \"$code\" \"$3\" && echo {key}\n",
        code.display(),
        folder = folder.display()
    );
    let draft = folder.join("draft");
    fs::write(&draft, script).expect("a script");
    // Written by another process: while this one had it open for writing, the
    // child of another test could inherit that, and the script not be run.
    let installed = Command::new("install")
        .args(["-m", "755"])
        .arg(draft)
        .arg(folder.join("compiler"))
        .status();
    assert!(installed.expect("install runs").success());
}
