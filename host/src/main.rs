//! stand-in
use std::sync::Arc; use std::time::Duration;
use hotdock::{runtime::*, service::*, manifest::*, digest::Digest, state, http::listener::Listener, config::HttpLimits};
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().init();
    let runtime = Runtime::new().expect("rt");
    let registry = Arc::new(Registry::default());
    for file in std::env::args().skip(1) {
        let name: ServiceName = std::path::Path::new(&file).file_stem().expect("s").to_str().expect("s").parse().expect("name");
        let bytes = std::fs::read(&file).expect("read");
        let out = format!("/tmp/{name}.cwasm");
        std::fs::write(&out, compile(&bytes).expect("compile")).expect("w");
        let loaded = runtime.load(out.as_ref()).expect("load");
        let program = runtime.link(&loaded).expect("link");
        let mut m = Manifest::default_for(name.clone());
        m.instances.reuse = std::env::var("REUSE").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
        let m = Arc::new(m);
        let id = VersionId { service: name.clone(), number: 1 };
        let v = Version::new(id.clone(), Digest::of(&bytes), m.clone(), Pool::new(&runtime, program, id, m));
        let store = state::Store::new(format!("/tmp/{name}.db").into(), name.as_str());
        probe(&v, &store).await.expect("probe");
        registry.swap(&v, &store).expect("swap");
    }
    let limits = HttpLimits { header_read_timeout: Duration::from_secs(10), max_headers: 100, max_header_bytes: 65536, max_concurrent_streams: 256, keep_alive: None, max_connections: 10000 };
    let l = Listener::bind("127.0.0.1:8080".parse().expect("a"), limits, registry).await.expect("bind");
    let stop = tokio_util::sync::CancellationToken::new();
    let s2 = stop.clone();
    tokio::spawn(async move { tokio::signal::ctrl_c().await.expect("c"); s2.cancel() });
    l.serve(stop, Duration::from_secs(5)).await;
}
