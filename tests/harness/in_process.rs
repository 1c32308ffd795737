//! A host in the test's own process, for limits that no setting has.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use hotdock::app::App;
use hotdock::config::Config;
use hotdock::state::StoreOptions;
use hotdock::telemetry::Logs;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Client, Reply, compiled, component, eventually};

/// A data folder and a plugin folder, for one host after the other.
pub struct Folders {
    folder: TempDir,
}

/// A host that runs.
pub struct InProcess {
    pub address: SocketAddr,
    pub client: Client,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Folders {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        Self { folder }
    }

    /// Puts a service or test guest there, with the manifest that is beside it.
    pub fn deploy(&self, name: &str) {
        let (wasm, manifest) = component(name);
        let beside = self.plugin(&format!("{name}.toml"));
        std::fs::write(beside, manifest.unwrap_or_default()).expect("a file");
        std::fs::write(self.plugin(&format!("{name}.wasm")), wasm).expect("a file");
    }

    /// The same with this in its manifest, before what is beside it.
    pub fn deploy_with(&self, name: &str, manifest: &str) {
        let (wasm, beside) = component(name);
        self.configure(name, &format!("{manifest}\n{}", beside.unwrap_or_default()));
        std::fs::write(self.plugin(&format!("{name}.wasm")), wasm).expect("a file");
    }

    /// The same with this for its manifest, and nothing else.
    pub fn deploy_bare(&self, name: &str, manifest: &str) {
        self.configure(name, manifest);
        std::fs::write(self.plugin(&format!("{name}.wasm")), component(name).0).expect("a file");
    }

    /// Gives it this manifest, which makes another version of it.
    pub fn configure(&self, name: &str, manifest: &str) {
        let part = self.folder.path().join(format!("{name}.part"));
        std::fs::write(&part, manifest).expect("a file");
        std::fs::rename(part, self.plugin(&format!("{name}.toml"))).expect("a rename");
    }

    pub fn undeploy(&self, name: &str) {
        std::fs::remove_file(self.plugin(&format!("{name}.wasm"))).expect("a file");
    }

    /// Starts a host and waits until everything that is there is dealt with.
    pub async fn host(&self, config: Config, stores: StoreOptions) -> InProcess {
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let config = Config {
            folder: self.folder.path().join("plugins"),
            data: self.folder.path().join("data"),
            compiler: env!("CARGO_BIN_EXE_hotdock").into(),
            listen: anywhere,
            admin: anywhere,
            ..config
        };
        let (data, components) = (config.data.clone(), self.components());
        compiled::give(&data, components.iter().map(Vec::as_slice));
        let app = App::start_with(config, Logs::new(0), stores).await.expect("a host");
        app.status().ready().await;
        compiled::keep(&data, components.iter().map(Vec::as_slice));
        let (address, admin) = (app.address(), app.admin_address());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run_until_stopped(async { drop(stopped.await) }));
        InProcess { client: Client::new(), address, admin, stop, running }
    }

    fn components(&self) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(self.folder.path().join("plugins")).expect("the folder");
        let files = files.map(|file| file.expect("a file").path());
        let components = files.filter(|file| file.extension().is_some_and(|kind| kind == "wasm"));
        components.map(|file| std::fs::read(file).expect("a component")).collect()
    }

    fn plugin(&self, file: &str) -> PathBuf {
        self.folder.path().join("plugins").join(file)
    }
}

impl InProcess {
    /// Asks the public listener.
    pub async fn request(&self, method: Method, path: &str, body: String) -> Reply {
        let url = format!("http://{}{path}", self.address);
        self.client.try_request(method, &url, body).await.expect("an answer")
    }

    /// Asks the admin listener.
    pub async fn admin(&self, path: &str) -> Reply {
        let url = self.admin_url(path);
        self.client.try_request(Method::GET, &url, "").await.expect("an answer")
    }

    /// Posts to the admin listener.
    pub async fn admin_post(&self, path: &str, body: String) -> Reply {
        let request =
            Request::post(self.admin_url(path)).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        self.client.send(request).await.expect("an answer")
    }

    /// `GET /v1/services/<name>`; null where there is none.
    pub async fn service(&self, name: &str) -> Value {
        let status = self.admin("/v1/services").await.json();
        let services = status["services"].as_array().expect("services");
        services.iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
    }

    pub async fn until_version(&self, name: &str, version: u64) {
        eventually(&format!("{name} v{version} serves"), async || {
            (self.service(name).await["serving"]["version"] == version).then_some(())
        })
        .await;
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Has it stop, and waits for its end.
    pub async fn stop(self) {
        let Self { stop, mut running, .. } = self;
        drop(stop);
        let ended = eventually("the host ends", async || {
            let soon = std::time::Duration::from_millis(5);
            tokio::time::timeout(soon, &mut running).await.ok()
        });
        ended.await.expect("no panic").expect("a clean end");
    }
}
