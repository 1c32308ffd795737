//! The client with a resolver that the test controls.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::*;

/// A server on 127.0.0.1 that answers each connection once and closes it.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.expect("a request");
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.expect("answered");
        }
    });
    address
}

/// A client to whom only 127.0.0.1 is open, and whose n-th lookup is answered
/// with the n-th of these; and how many lookups there were.
fn client(answers: Vec<Vec<&'static str>>) -> (Outbound, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let lookup: Lookup = Arc::new(move |_name| {
        let answer = answers.get(counted.fetch_add(1, Ordering::SeqCst)).cloned();
        Box::pin(async move {
            let answer = answer.ok_or(std::io::ErrorKind::NotFound)?;
            Ok(answer.iter().map(|text| text.parse::<IpAddr>().expect("an address")).collect())
        })
    });
    let config = OutboundConfig {
        allow_private: vec!["127.0.0.1".parse().expect("a network")],
        ..OutboundConfig::default()
    };
    (Outbound::with_lookup(config, lookup), count)
}

async fn ask(outbound: &Outbound, url: &str) -> Result<StatusCode, Error> {
    ask_of("cart", outbound, url, url).await
}

/// The same of a service, to an origin as its manifest has it.
async fn ask_of(
    service: &str,
    outbound: &Outbound,
    origin: &str,
    url: &str,
) -> Result<StatusCode, Error> {
    let service: ServiceName = service.parse().expect("a name");
    let mut manifest = Manifest::default_for(service.clone());
    let origin = origin.trim_end_matches('/').parse().expect("an origin");
    manifest.capabilities.outbound.push(origin);
    let grant = outbound.grant(&VersionId { service, number: 1 }, &Arc::new(manifest));
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(url).body(body).expect("a request");
    let granted = grant.check(&Method::GET, request.uri())?;
    let over = CancellationToken::new();
    let (response, _sent) = grant.send(granted, request, None, over, nobody)?.await?;
    Ok(response.status())
}

/// There are no other services.
async fn nobody(_: ServiceName, _: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
    Err(Error::DestinationNotFound)
}

#[tokio::test]
async fn a_name_whose_answer_changes_leads_to_no_other_address() {
    let url = format!("http://rebinding.example:{}/", server().await.port());
    let (outbound, lookups) =
        client(vec![vec!["127.0.0.1"], vec!["10.0.0.1"], vec!["127.0.0.2", "127.0.0.1"]]);
    assert_eq!(ask(&outbound, &url).await.expect("an answer"), 204);
    // The second connection's own answer counts, whatever the first's was.
    assert!(matches!(ask(&outbound, &url).await, Err(Error::DestinationIpProhibited)));
    // Of several addresses only those are tried that are open.
    assert_eq!(ask(&outbound, &url).await.expect("an answer"), 204);
    assert_eq!(lookups.load(Ordering::SeqCst), 3, "each connection is made after a lookup");
    assert!(matches!(ask(&outbound, &url).await, Err(Error::DnsError { .. })));
}

#[tokio::test]
async fn an_address_is_checked_without_a_lookup() {
    let (outbound, lookups) = client(Vec::new());
    let port = server().await.port();
    let url = |host: &str| format!("http://{host}:{port}/");
    assert_eq!(ask(&outbound, &url("127.0.0.1")).await.expect("an answer"), 204);
    for host in ["127.0.0.2", "[::1]", "[fe80::1]", "[64:ff9b::7f00:1]", "192.168.0.1"] {
        let answer = ask(&outbound, &url(host)).await;
        assert!(matches!(answer, Err(Error::DestinationIpProhibited)), "{host}: {answer:?}");
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
}

/// A server on 127.0.0.1 that sends so many interim answers with this head, then 200.
async fn with_interim(count: usize, head: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let interim = format!("HTTP/1.1 103 Early Hints\r\n{head}\r\n");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.expect("a request");
            for _ in 0..count {
                if stream.write_all(interim.as_bytes()).await.is_err() {
                    // The client has gone.
                    break;
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            let _sent = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_peer_sends_a_bounded_number_of_interim_answers() {
    let (outbound, _) = client(Vec::new());
    let long = format!("link: {}\r\n", "a".repeat(7_000));
    for (count, head, answers) in
        [(60, "", true), (usize::MAX, "", false), (8, &*long, true), (usize::MAX, &*long, false)]
    {
        let address = with_interim(count, head).await;
        // Without end it would be the timeout, half a minute later.
        let answer = ask(&outbound, &format!("http://{address}/")).await;
        match answer {
            Ok(status) => assert!(answers && status == 200, "{count}: {status}"),
            Err(error) => {
                assert!(!answers && matches!(error, Error::HttpProtocolError), "{count}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_lookup_that_takes_too_long_is_given_up() {
    let lookup: Lookup = Arc::new(|_name| Box::pin(std::future::pending()));
    let connect_timeout = std::time::Duration::from_millis(20);
    let config = OutboundConfig { connect_timeout, ..OutboundConfig::default() };
    let outbound = Outbound::with_lookup(config, lookup);
    assert!(matches!(ask(&outbound, "http://slow.example/").await, Err(Error::DnsTimeout)));
}

#[tokio::test]
async fn all_versions_of_a_service_share_its_limit() {
    let (outbound, _) = client(Vec::new());
    let service: ServiceName = "cart".parse().expect("a name");
    let mut manifest = Manifest::default_for(service.clone());
    manifest.capabilities.outbound.push("http://api.example".parse().expect("an origin"));
    manifest.limits.outbound_requests = 1;
    let manifest = Arc::new(manifest);
    let version = |number| VersionId { service: service.clone(), number };
    let (one, other) =
        (outbound.grant(&version(1), &manifest), outbound.grant(&version(2), &manifest));
    let uri = "http://api.example/".parse().expect("a URI");
    let first = one.check(&Method::GET, &uri).expect("the first");
    assert!(matches!(other.check(&Method::GET, &uri), Err(Error::ConnectionLimitReached)));
    drop(first);
    assert!(other.check(&Method::GET, &uri).is_ok());
}

/// A server of both protocols that answers when it has read a request to its end.
async fn reader() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(async |request: Request<Incoming>| {
                let read = request.into_body().collect().await;
                let status = if read.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
                let body = Empty::<bytes::Bytes>::new();
                Response::builder().status(status).body(body)
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), answer).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_request_without_content_may_drop_its_body() {
    let address = reader().await;
    let (outbound, _) = client(Vec::new());
    let service: ServiceName = "cart".parse().expect("a name");
    for scheme in ["http", "h2c"] {
        let mut manifest = Manifest::default_for(service.clone());
        let origin = format!("{scheme}://{address}").parse().expect("an origin");
        manifest.capabilities.outbound.push(origin);
        let version = VersionId { service: service.clone(), number: 1 };
        let grant = outbound.grant(&version, &Arc::new(manifest));
        let ask = async |method: Method, length: Option<u64>, first: Option<&'static str>| {
            // As the library has it for a body that its guest dropped without finishing it.
            let first = first.map(|text| Ok(Frame::data(bytes::Bytes::from(text))));
            let dropped = first.into_iter().chain([Err(Error::HttpProtocolError)]);
            let body = StreamBody::new(futures_util::stream::iter(dropped)).boxed_unsync();
            let mut request = Request::builder().method(method).uri(format!("http://{address}/"));
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let request = request.body(body).expect("a request");
            let granted = grant.check(request.method(), request.uri())?;
            let answer =
                grant.send(granted, request, None, CancellationToken::new(), nobody)?.await;
            answer.map(|(response, _)| response.status())
        };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for length in [None, Some(0)] {
                let answer = ask(method.clone(), length, None).await;
                assert!(matches!(answer, Ok(StatusCode::OK)), "{scheme} {method}: {answer:?}");
            }
        }
        // Whatever was to have some is not whole.
        for (method, length, first) in [
            (Method::POST, None, None),
            (Method::GET, Some(5), None),
            (Method::OPTIONS, None, Some("some")),
        ] {
            let answer = ask(method.clone(), length, first).await;
            assert!(!matches!(answer, Ok(StatusCode::OK)), "{scheme} {method}: {answer:?}");
        }
    }
}

/// A server of both protocols that answers with the number of the connection as its status,
/// from 201 on.
async fn counting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut status = 200;
        while let Ok((stream, _)) = listener.accept().await {
            status += 1;
            let answer = service_fn(move |_: Request<Incoming>| {
                let body = Empty::<bytes::Bytes>::new();
                std::future::ready(Response::builder().status(status).body(body))
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), answer).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_service_has_no_part_in_another_services_connection() {
    let address = counting().await;
    for scheme in ["h2c", "http"] {
        let (outbound, _) = client(Vec::new());
        let origin = format!("{scheme}://{address}");
        let ask = async |service: &str| {
            let url = format!("http://{address}/");
            ask_of(service, &outbound, &origin, &url).await.expect("an answer").as_u16()
        };
        // They exist for longer than their requests.
        let services = ["evil", "good"].map(|name| outbound.asker(&name.parse().expect("a name")));
        let (evil, good) = (ask("evil").await, ask("good").await);
        assert_ne!(evil, good, "{scheme}");
        if scheme == "h2c" {
            assert_eq!((ask("evil").await, ask("good").await), (evil, good), "their own again");
        }
        drop(services);
    }
}

/// A server that answers nothing, and tells of each request that it has.
async fn silent() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<tokio::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.expect("a request");
            _ = sender.send(stream);
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_service_that_has_all_its_connections_leaves_others_theirs() {
    let config = OutboundConfig {
        allow_private: vec!["127.0.0.1".parse().expect("a network")],
        connect_timeout: std::time::Duration::from_millis(20),
        max_connections_per_origin: 2,
        max_connections: 4,
        ..OutboundConfig::default()
    };
    let outbound = Outbound::with_lookup(config, CheckedResolver::of_the_system());
    let ((one, mut of_one), (other, mut of_other)) = (silent().await, silent().await);
    let evil = outbound.asker(&"evil".parse().expect("a name"));
    let begin = |service: &'static str, address: SocketAddr| {
        let (outbound, url) = (outbound.clone(), format!("http://{address}/"));
        tokio::spawn(async move { ask_of(service, &outbound, &url, &url).await })
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        begin("evil", one);
        held.push(of_one.recv().await.expect("a request"));
    }
    // As many to one origin as it may have; and of all, where the last is not for it.
    let third = begin("evil", one).await.expect("no panic");
    assert!(matches!(third, Err(Error::ConnectionLimitReached)), "{third:?}");
    begin("evil", other);
    held.push(of_other.recv().await.expect("a request"));
    let fourth = begin("evil", other).await.expect("no panic");
    assert!(matches!(fourth, Err(Error::ConnectionLimitReached)), "{fourth:?}");
    let good = begin("good", one);
    let mut asked = of_one.recv().await.expect("the other's request comes through");
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    asked.write_all(answer).await.expect("answered");
    assert_eq!(good.await.expect("no panic").expect("an answer"), 204);
    drop(evil);
}
