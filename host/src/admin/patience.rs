//! Requests whose bodies don't come on: answered 408, whatever was made of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::problem::Problem;

/// In how many pieces slashes part `/v1/services/{name}`.
const COMPONENT_SEGMENTS: usize = 4;

/// How long any other body than a component's may take, however it comes.
const LONGEST: Duration = Duration::from_secs(60);

/// Loses patience with a body of which nothing comes for so long.
pub(super) async fn lose(State(idle): State<Duration>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let path = request.uri().path();
    // A component is as large as it is, and has a deadline of its own for what comes of it.
    let is_component =
        request.method() == Method::PUT && path.split('/').count() == COMPONENT_SEGMENTS;
    let until = (!is_component).then(|| Instant::now() + LONGEST);
    let stalled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stalled);
    let request =
        request.map(|body| Body::new(Patient { body, idle, until, gives_up: None, stalled: flag }));
    let response = next.run(request).await;
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if !is_error || !stalled.load(Ordering::Relaxed) {
        return response;
    }
    let detail = format!("nothing came of the body for {idle:?}, or not all in {LONGEST:?}");
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
}

struct Patient {
    body: Body,
    idle: Duration,
    until: Option<Instant>,
    /// When it is given up unless something comes; while it is waited for.
    gives_up: Option<Pin<Box<Sleep>>>,
    stalled: Arc<AtomicBool>,
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.gives_up = None;
            return Poll::Ready(frame);
        }
        let at = Instant::now() + self.idle;
        let at = self.until.map_or(at, |until| until.min(at));
        let gives_up = self.gives_up.get_or_insert_with(|| Box::pin(sleep_until(at)));
        std::task::ready!(gives_up.as_mut().poll(context));
        self.stalled.store(true, Ordering::Relaxed);
        let error = axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
