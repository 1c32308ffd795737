//! What is measured: a component, deployed in a folder of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tempfile::TempDir;

use super::asked::host_of;
use super::client::Client;
use crate::config::HttpLimits;
use crate::deploy::{Compiler, deploy_alone, load_alone};
use crate::http::connection::Connections;
use crate::listen::{self, Streams};
use crate::runtime::{LoadedComponent, Runtime};
use crate::service::{Registry, Service, Version};

/// A component that can be asked.
pub struct Subject {
    pub(super) registry: Arc<Registry>,
    pub(super) service: Arc<Service>,
    connections: Connections,
    /// Removed last, with the store in it.
    _folder: TempDir,
}

/// A component whose code is mapped, to be deployed once or more.
pub struct Compiled<'a> {
    runtime: &'a Runtime,
    file: &'a Path,
    component: LoadedComponent,
}

impl<'a> Compiled<'a> {
    /// Compiles it.
    ///
    /// # Errors
    /// When it doesn't compile.
    pub async fn new(
        runtime: &'a Runtime,
        compiler: Compiler<'_>,
        file: &'a Path,
    ) -> anyhow::Result<Self> {
        let component = load_alone(runtime, compiler, file).await;
        let component = component.map_err(|reason| refused(file, &[reason]))?;
        Ok(Self { runtime, file, component })
    }

    /// Deploys it, with so many invocations per instance.
    ///
    /// # Errors
    /// When it cannot be deployed, with every reason.
    pub async fn deploy(&self, reuse: u32) -> anyhow::Result<Subject> {
        let Self { runtime, file, component } = self;
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let registry = Arc::new(Registry::default());
        let deployed =
            deploy_alone(runtime, &registry, component, file, folder.path(), reuse).await;
        let service = deployed.map_err(|reasons| refused(file, &reasons))?;
        let limits = HttpLimits::default();
        let builder = listen::builder(&limits, Streams::alone(&limits));
        let connections = Connections::new(builder, &limits, Arc::clone(&registry), None);
        Ok(Subject { registry, service, connections, _folder: folder })
    }
}

impl Subject {
    /// A new connection to it.
    pub(super) fn connect(&self) -> Client {
        Client::connect(&self.connections)
    }

    /// The version that it is.
    pub(super) fn version(&self) -> &Arc<Version> {
        self.service.traffic.primary()
    }

    /// The host that its requests name.
    pub(super) fn host(&self) -> String {
        host_of(self.version().routes()).to_owned()
    }

    /// The path that its requests go to where none is given: its first route's.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.version().routes().first().map(|route| route.path.as_str())
    }

    /// Closes its store.
    pub async fn close(self) {
        self.service.store.close().await;
    }
}

fn refused(file: &Path, reasons: &[String]) -> anyhow::Error {
    anyhow!("{}: cannot be deployed: {}", file.display(), reasons.join("; "))
}
