//! An OCI registry of the test's own: Debian's `docker-registry`, on a free port of
//! the loopback interface, in a folder of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Method, Request};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{Client, Reply, built, eventually};

const PROGRAM: &str = "docker-registry";
/// `ann` with the password `U*U` (bcrypt's own test vector).
const USERS: &str = "ann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
/// What `USERS` lets in, as Basic credentials.
pub const ANN: &str = "ann:U*U";

/// A registry that runs.
pub struct Registry {
    child: Child,
    folder: TempDir,
    pub address: SocketAddr,
    client: Client,
}

impl Registry {
    /// Lets everybody in; none, with a word on stderr, where the program isn't.
    pub async fn start() -> Option<Self> {
        Self::configured("").await
    }

    /// Lets `ann` in only.
    pub async fn start_for_ann() -> Option<Self> {
        Self::configured("auth: {htpasswd: {realm: tests, path: users}}\n").await
    }

    async fn configured(more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: tests}}\n{more}"
        );
        std::fs::write(folder.path().join("config.yml"), settings).expect("a file");
        std::fs::write(folder.path().join("users"), USERS).expect("a file");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let program = built("tools/bin", PROGRAM).unwrap_or_else(|| PROGRAM.into());
        let spawned = Command::new(program)
            .args(["serve", "config.yml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: {PROGRAM} is not here (`make registry` brings it): {error}");
                return None;
            }
        };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut registry = Self { child, folder, address: nowhere, client: Client::new() };
        registry.address = eventually("the registry listens", async || {
            let log = std::fs::read_to_string(registry.folder.path().join("log")).ok()?;
            let (_, rest) = log.split_once("listening on ")?;
            rest.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next()?.parse().ok()
        })
        .await;
        Some(registry)
    }

    /// `oci://127.0.0.1:<port>/<rest>`
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// What it answers to `GET /v2/<path>`.
    pub async fn get(&self, path: &str) -> Reply {
        let request = Request::get(format!("http://{}/v2/{path}", self.address))
            .header("accept", "application/vnd.oci.image.manifest.v1+json")
            .header(AUTHORIZATION, "Basic YW5uOlUqVQ==");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        self.client.send(request).await.expect("an answer")
    }

    /// Pushes bytes as they are; their digest.
    pub async fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
        let begun = self.client.try_request(Method::POST, &url, "").await.expect("an answer");
        let location = begun.headers[LOCATION].to_str().expect("text").to_owned();
        let digest = digest(bytes);
        let location = format!("{location}&digest={digest}");
        let bytes = bytes.to_vec();
        let put = self.client.try_request(Method::PUT, &location, bytes).await.expect("an answer");
        assert_eq!(put.status, 201, "{put:?}");
        digest
    }

    /// Pushes a manifest as it is.
    pub async fn put_manifest(&self, repository: &str, tag: &str, manifest: &serde_json::Value) {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        let request = Request::put(url)
            .header(CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")
            .body(Full::new(Bytes::from(manifest.to_string())));
        let put = self.client.send(request.expect("a request")).await.expect("an answer");
        assert_eq!(put.status, 201, "{put:?}");
    }

    /// The file that it keeps a blob in.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
