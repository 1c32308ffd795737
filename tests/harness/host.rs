//! The program under test.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::{Reply, compiled, component, eventually};

/// A host that runs, with its folders.
pub struct Host {
    child: Option<Child>,
    folder: TempDir,
    data: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    descriptors: Option<u32>,
    starts: usize,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub client: Client,
}

/// A debug host that compiles a component of so many bytes, at the lowest priority beside all other
/// tests, may need longer than a host does.
const LARGE: usize = 4 << 20;

/// What a host starts with.
#[derive(Default)]
pub struct Builder {
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    settings: String,
    data: Option<PathBuf>,
    descriptors: Option<u32>,
}

impl Builder {
    /// A service or test guest, with the manifest that is beside it.
    pub fn plugin(self, name: &str) -> Self {
        let (bytes, manifest) = component(name);
        let with = self.file(&format!("{name}.wasm"), bytes);
        match manifest {
            Some(manifest) => with.file(&format!("{name}.toml"), manifest),
            None => with,
        }
    }

    /// A service or test guest with this in its manifest, before what is beside it.
    pub fn plugin_with(self, name: &str, manifest: &str) -> Self {
        let (bytes, beside) = component(name);
        let manifest = format!("{manifest}\n{}", beside.unwrap_or_default());
        self.file(&format!("{name}.wasm"), bytes).file(&format!("{name}.toml"), manifest)
    }

    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), bytes.into()));
        self
    }

    /// One more argument of `hotdock up`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A path in its environment.
    pub fn environment(mut self, name: &str, path: &Path) -> Self {
        self.environment.push((name.to_owned(), path.to_owned()));
        self
    }

    /// With its data folder there, instead of beside its plugins.
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// With so many descriptors at the most.
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// More of its `hotdock.toml`.
    pub fn settings(mut self, text: &str) -> Self {
        self.settings.push_str(text);
        self
    }

    /// Starts it and waits until everything in the folder is dealt with.
    pub async fn start(self) -> Host {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("the plugin folder");
        for (name, bytes) in &self.files {
            let path = folder.path().join("plugins").join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
            std::fs::write(path, bytes).expect("a file");
        }
        let mut settings = self.settings;
        let is_large = self.files.iter().any(|(_, bytes)| bytes.len() > LARGE);
        if is_large && !settings.contains("compile-timeout") {
            settings.insert_str(0, "compile-timeout = \"10m\"\n");
        }
        if !settings.is_empty() {
            std::fs::write(folder.path().join("hotdock.toml"), settings).expect("a file");
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut host = Host {
            child: None,
            data: self.data.unwrap_or_else(|| folder.path().join("data")),
            folder,
            arguments: self.arguments,
            environment: self.environment,
            descriptors: self.descriptors,
            starts: 0,
            address: nowhere,
            admin: nowhere,
            client: Client::new(),
        };
        // What a test brings may be a disk that fails at its third write.
        let may_share = host.data.starts_with(host.folder.path());
        let components = || self.files.iter().map(|(_, bytes)| bytes.as_slice());
        if may_share {
            compiled::give(&host.data, components());
        }
        host.start().await;
        if may_share {
            compiled::keep(&host.data, components());
        }
        host
    }
}

impl Host {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts it again on the same folders.
    pub async fn start(&mut self) {
        if let Err(status) = self.try_start().await {
            panic!("the host ended with {status}: {}", self.log());
        }
    }

    /// The same where it may end before it is ready.
    pub async fn try_start(&mut self) -> Result<(), ExitStatus> {
        self.starts += 1;
        let log = std::fs::File::create(self.log_path()).expect("a log");
        let child = self.command().stderr(log).spawn().expect("the host starts");
        self.child = Some(child);
        let (address, admin) =
            self.until_or_ended("the host listens", async |host| listening(&host.log())).await?;
        (self.address, self.admin) = (address, admin);
        // Connections to the one before are of no use.
        self.client = Client::new();
        self.until_or_ended("the host is ready", async |host| {
            let ready = host.client.try_request(Method::GET, &host.admin_url("/readyz"), "").await;
            ready.is_ok_and(|reply| reply.status == 200).then_some(())
        })
        .await
    }

    /// Waits until `condition` gives a value, or the host has ended.
    async fn until_or_ended<T>(
        &mut self,
        what: &str,
        mut condition: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Result<T, ExitStatus> {
        let ended = eventually(what, async || {
            if let Some(value) = condition(self).await {
                return Some(Ok(value));
            }
            self.child.as_mut()?.try_wait().expect("its status").map(Err)
        })
        .await;
        if ended.is_err() {
            self.child = None;
        }
        ended
    }

    /// Gives its next start this in its environment, or no longer.
    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(each, _)| each != name);
        self.environment.extend(value.map(|value| (name.to_owned(), PathBuf::from(value))));
    }

    /// The command that starts it, for tests that expect it to fail.
    pub fn command(&self) -> Command {
        const HOST: &str = env!("CARGO_BIN_EXE_hotdock");
        let mut command = match self.descriptors {
            None => Command::new(HOST),
            Some(count) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\""), HOST]);
                shell
            }
        };
        command
            .arg("up")
            .arg(self.plugins())
            .arg("--data")
            .arg(self.data())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("HOTDOCK_LOG_FORMAT", "json")
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, path)| (name, path)))
            .current_dir(self.folder.path())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Everything it logged since it was started last.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }

    pub async fn until_logged(&self, text: &str) {
        eventually(&format!("the log has {text:?}"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.request(Method::POST, path, body).await
    }

    pub async fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        let reply = self.client.try_request(method, &self.url(path), body).await;
        reply.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        self.client.send(request).await.expect("an answer")
    }

    /// `GET /v1/services`.
    pub async fn status(&self) -> Value {
        let reply = self.client.try_request(Method::GET, &self.admin_url("/v1/services"), "").await;
        reply.expect("an answer").json()
    }

    /// `GET /v1/services/<name>`; null where there is none.
    pub async fn service(&self, name: &str) -> Value {
        let status = self.status().await;
        let services = status["services"].as_array().expect("services");
        services.iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
    }

    pub async fn until_version(&self, name: &str, version: u64) {
        eventually(&format!("{name} v{version} serves"), async || {
            (self.service(name).await["serving"]["version"] == version).then_some(())
        })
        .await;
    }

    /// Waits until more than one version has traffic.
    pub async fn until_shared(&self, name: &str) {
        eventually(&format!("{name} is shared"), async || {
            self.service(name).await["sharing"].is_array().then_some(())
        })
        .await;
    }

    /// The reasons why a file is refused, once it is.
    pub async fn until_refused(&self, file: &str) -> String {
        self.until_said(file, "refusal").await
    }

    /// What a file waits for, once it does.
    pub async fn until_pending(&self, file: &str) -> String {
        self.until_said(file, "pending").await
    }

    async fn until_said(&self, file: &str, what: &str) -> String {
        eventually(&format!("there is a {what} of {file}"), async || {
            let status = self.status().await;
            let all = status["services"].as_array()?.iter().chain(status["files"].as_array()?);
            let refusal = all.map(|entry| &entry[what]).find(|refusal| refusal["file"] == file)?;
            let reasons = refusal["reasons"].as_array()?.iter();
            Some(
                reasons.map(|reason| reason.as_str().expect("text")).collect::<Vec<_>>().join("\n"),
            )
        })
        .await
    }

    /// What the admin listener shows to a scrape.
    pub async fn metrics(&self) -> String {
        let reply = self.client.try_request(Method::GET, &self.admin_url("/metrics"), "").await;
        reply.expect("an answer").text()
    }

    /// Waits until the series, written with its labels, has the value.
    pub async fn until_metric(&self, series: &str, value: u64) {
        let line = format!("{series} {value}");
        eventually(&line, async || {
            self.metrics().await.lines().any(|each| each == line).then_some(())
        })
        .await;
    }

    /// How many files and sockets the host has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// The names of its threads, each with how nice it is (proc_pid_stat(5)).
    pub fn nice_by_thread(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let stats =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let parsed = stats.map(|stat| {
            let (start, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
            let (_, name) = start.split_once(" (").expect("a name in parentheses");
            let nice = fields.split(' ').nth(16).expect("its niceness");
            (name.to_owned(), nice.parse().expect("a number"))
        });
        parsed.collect()
    }

    /// Waits until nothing runs.
    pub async fn until_idle(&self) {
        eventually("nothing runs any more", async || {
            let status = self.status().await;
            let idle = status["services"].as_array()?.iter().all(|service| {
                service["serving"]["leases"].as_u64().unwrap_or(0) == 0
                    && service["draining"].as_array().is_none_or(Vec::is_empty)
            });
            idle.then_some(())
        })
        .await;
    }

    /// Puts a file into the plugin folder as a careful user does: by rename.
    pub fn drop_file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let part = self.folder.path().join(format!("{name}.part"));
        std::fs::write(&part, bytes).expect("a file");
        std::fs::rename(part, self.plugins().join(name)).expect("a rename");
    }

    pub fn remove_file(&self, name: &str) {
        std::fs::remove_file(self.plugins().join(name)).expect("a file");
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// Forgets how much memory was resident at most; returns how much is.
    pub fn begin_peak(&self) -> u64 {
        let forget = format!("/proc/{}/clear_refs", self.pid());
        std::fs::write(forget, "5").expect("the peak forgotten");
        self.resident_bytes()
    }

    /// How much memory was resident at most since then.
    pub fn peak_bytes(&self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(&self, what: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find(|line| line.starts_with(what)).expect("its line");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") << 10
    }

    /// The compiled components whose code it has in memory.
    pub fn mapped_artifacts(&self) -> BTreeSet<String> {
        read(Path::new(&format!("/proc/{}/maps", self.pid())))
            .lines()
            .filter(|line| line.contains(".cwasm"))
            .filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned()))
            .collect()
    }

    /// Ends it as a power cut would, as far as this process goes.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("its end");
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Asks it to stop and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("its status").is_some())
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        eventually("the host ends", async || child.try_wait().expect("its status")).await
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.starts))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        _ = child.kill();
        _ = child.wait();
        if std::thread::panicking() {
            eprintln!("the host's log:\n{}", self.log());
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The addresses, once the log has them.
fn listening(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    if let Some((_, addresses)) = log.split_once(" listening listen=") {
        let (listen, admin) = addresses.lines().next()?.split_once(" admin=")?;
        return Some((listen.parse().ok()?, admin.parse().ok()?));
    }
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    Some((line["listen"].as_str()?.parse().ok()?, line["admin"].as_str()?.parse().ok()?))
}
