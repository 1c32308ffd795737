//! What a deployer needs to know, and the limits it keeps.

use std::path::PathBuf;
use std::time::Duration;

/// How many plugin files are read at once.
pub(super) const CONCURRENT_READS: usize = 4;
/// How many of those are read at once that were refused before the host started.
pub(super) const CONCURRENT_SECOND_LOOKS: usize = 1;
/// How many of those are read at once that are larger than small ones.
pub(super) const CONCURRENT_LARGE_READS: usize = 1;
/// What counts as a small component.
pub(super) const SMALL_COMPONENT_BYTES: u64 = 32 << 20;
/// Files larger than this are looked at before they are read.
pub(super) const LOOKED_AT_BYTES: u64 = 256 << 10;
/// How many deployments are remembered.
pub(super) const KEPT_DEPLOYMENTS: usize = 256;
/// How many uploads are received at once.
pub(super) const CONCURRENT_UPLOADS: usize = 2;
/// How long a deployment waits for a store that is being closed.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// How many notices a slow reader may fall behind before it misses some.
pub(super) const NOTICE_BACKLOG: usize = 1024;

/// How plugin files become versions.
#[derive(Clone, Debug)]
pub struct DeployConfig {
    /// The plugin folder; it must exist.
    pub folder: PathBuf,
    /// The data folder: `host.db`, `components/`, `compiled/` and `stores/` are
    /// made in it. One host at a time; the caller sees to that.
    pub data: PathBuf,
    /// Where secrets are: `<folder>/<service>/<NAME>`.
    pub secrets: Option<PathBuf>,
    /// How many of a service's versions are kept, besides those with traffic and the
    /// one that served before.
    pub keep_versions: usize,
    /// The program that is run as `<compiler> compile INPUT OUTPUT`.
    pub compiler: PathBuf,
    /// How long a component may take to compile.
    pub compile_timeout: Duration,
    /// How long nothing may come of an upload before it is given up.
    pub upload_idle_timeout: Duration,
    /// Whether the host takes events from outside where requests come in.
    pub takes_events: bool,
    /// How long the files of a pair wait for each other after one of them was
    /// closed or renamed into place, so that `cp cart.wasm cart.toml plugins/`
    /// makes one version.
    pub pair: Duration,
    /// How long a file must be left alone when nothing says that it is whole:
    /// neither a close after writing nor a rename.
    pub quiet: Duration,
    /// How long a file that someone has open for writing may stand still before
    /// it is acted on all the same.
    pub stalled: Duration,
    /// How long `host.db` is waited for until it answers, or begins with a change. A change
    /// that was begun, and somebody else's, have twice that before an operator is told.
    pub record_patience: Duration,
    /// How often the folder is looked through for changes that no event told
    /// of: behind symbolic links, on network file systems.
    pub rescan: Duration,
}

impl Default for DeployConfig {
    /// The host compiles with itself.
    fn default() -> Self {
        Self {
            folder: PathBuf::from("plugins"),
            data: PathBuf::from(".hotdock"),
            secrets: None,
            keep_versions: 10,
            compiler: PathBuf::from("/proc/self/exe"),
            compile_timeout: Duration::from_secs(120),
            upload_idle_timeout: Duration::from_secs(30),
            takes_events: false,
            pair: Duration::from_millis(50),
            quiet: Duration::from_millis(300),
            stalled: Duration::from_secs(10),
            record_patience: Duration::from_secs(10),
            rescan: Duration::from_secs(5),
        }
    }
}
