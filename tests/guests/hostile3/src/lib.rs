//! What a service could do to hurt its host (`wasi:http` 0.3), a path for each.
//!
//! ```text
//! /streams      makes streams for ever and drops none
//! /futures      makes futures for ever and drops none
//! /tasks        starts tasks for ever that wait for ever
//! /spin-task    answers `ok`; a task left behind computes for ever
//! /wait-task    answers `ok`; a task left behind waits for ever
//! /yield-task   answers `ok`; a task left behind yields for ever
//! /trap-task    begins a body; a task left behind traps
//! /endless      a body without an end
//! /open         begins a body and never goes on
//! /no-trailers  a whole body whose trailers never come
//! /headers      appends headers until that fails, then traps
//! /held-headers makes headers of 60 kB for ever and drops none
//! /held-methods makes requests for ever whose methods are a megabyte long
//! ```
//!
//! All of them are under `/hostile3`.

use std::mem::forget;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::wit_bindgen::rt::async_support::StreamWriter;
use wasip3::{wit_future, wit_stream};

struct Hostile;

wasip3::http::service::export!(Hostile);

impl wasip3::exports::http::handler::Guest for Hostile {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        Ok(match path.strip_prefix("/hostile3/").unwrap_or_default() {
            "streams" => loop {
                forget(wit_stream::new::<u8>());
            },
            "futures" => loop {
                forget(wit_future::new::<Result<Option<Fields>, ErrorCode>>(|| Ok(None)));
            },
            "tasks" => loop {
                wasip3::spawn_local(wait());
                monotonic_clock::wait_for(0).await;
            },
            "spin-task" => ok(async { spin() }),
            "wait-task" => ok(wait()),
            "yield-task" => ok(async {
                loop {
                    monotonic_clock::wait_for(0).await;
                }
            }),
            "trap-task" => stream(|mut body| async move {
                body.write_all(b"part of".to_vec()).await;
                panic!("as it was asked to");
            }),
            "endless" => stream(|mut body| async move {
                while body.write_all(vec![0; 64 << 10]).await.is_empty() {}
            }),
            "open" => stream(|mut body| async move {
                body.write_all(b"part of".to_vec()).await;
                wait().await;
            }),
            "no-trailers" => no_trailers(),
            "headers" => headers(),
            "held-headers" => loop {
                let fields = Fields::new();
                let _ = fields.append("x", &[b'x'; 60_000]);
                forget(fields);
            },
            "held-methods" => {
                let method = Method::Other("x".repeat(1 << 20));
                loop {
                    let (_, trailers) = wit_future::new(|| Ok(None));
                    let (request, _) = Request::new(Fields::new(), None, trailers, None);
                    let _ = request.set_method(&method);
                    forget(request);
                }
            }
            _ => ok(async {}),
        })
    }
}

fn spin() {
    loop {
        std::hint::black_box(());
    }
}

async fn wait() {
    monotonic_clock::wait_for(u64::MAX / 2).await;
}

fn ok(then: impl Future<Output = ()> + 'static) -> Response {
    stream(|mut body| async move {
        body.write_all(b"ok\n".to_vec()).await;
        drop(body);
        then.await;
    })
}

fn stream<Task>(write: impl FnOnce(StreamWriter<u8>) -> Task) -> Response
where
    Task: Future<Output = ()> + 'static,
{
    let (body, reader) = wit_stream::new();
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(reader), no_trailers);
    wasip3::spawn_local(write(body));
    response
}

fn no_trailers() -> Response {
    let (mut body, reader) = wit_stream::new();
    let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
    wasip3::spawn_local(async move {
        body.write_all(b"ok\n".to_vec()).await;
        drop(body);
        wait().await;
        drop(trailers);
    });
    response
}

fn headers() -> Response {
    let fields = Fields::new();
    let mut count = 0u64;
    while fields.append("x", &[b'x'; 1000]).is_ok() {
        count += 1;
    }
    panic!("it took {count} headers");
}
