//! Whom to trust over TLS: the machine's own certificate authorities.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// The settings of TLS, read at the first request that needs them: hundreds of
/// certificates are not worth a slower start.
///
/// Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Tls {
    config: Arc<ArcSwap<OnceCell<Arc<ClientConfig>>>>,
}

impl Tls {
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let load = || async {
            let loaded = tokio::task::spawn_blocking(load).await;
            loaded.unwrap_or_else(|error| Err(rustls::Error::General(error.to_string())))
        };
        self.config.load_full().get_or_try_init(load).await.map(Arc::clone)
    }

    /// Has them read anew by the next connection.
    pub(super) fn forget(&self) {
        self.config.store(Arc::default());
    }
}

/// The certificates that the operating system, or `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`, name.
fn load() -> Result<Arc<ClientConfig>, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("certificates could not be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::error!("no certificate authority is trusted: every https request will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
