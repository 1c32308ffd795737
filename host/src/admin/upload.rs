//! `PUT /v1/services/{name}`: a component comes in, streamed to a file, checked by
//! its digest where the client says one, and its deployment begins.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Query, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _, poll_fn};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, Sleep, sleep};
use utoipa::ToSchema;

use super::Admin;
use super::condition::asked;
use super::problem::{Problem, Unchanged};
use crate::deploy::{Asking, Deployment, Spool, Takeover, Upload};
use crate::manifest::{MAX_TEXT_BYTES, parse_steps};
use crate::name::ServiceName;
use crate::oci::Reference;

/// How the version takes the traffic over, and where it is from.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `true`: step by step, as the manifest says or by default. `false`: all at
    /// once. Shares such as `1,10,50,100`: by these steps, the last of which is
    /// held if it is not 100. By default as the manifest says.
    #[param(example = "10")]
    canary: Option<String>,
    /// `true`: also where it lacks or changes what the version that serves has for
    /// others; its manifest may allow it, too.
    #[serde(default)]
    allow_breaking: bool,
    /// Where the client has it from: `oci://REGISTRY/REPOSITORY:TAG@sha256:…`. It is
    /// noted, not asked.
    reference: Option<String>,
}

/// A component with its manifest beside it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the description of a form")]
pub(super) struct Form {
    /// The component.
    #[schema(format = Binary, content_media_type = "application/wasm")]
    component: String,
    /// Its manifest (TOML); wins over the one that is embedded in the component.
    manifest: Option<String>,
}

/// Deploys a component: as it is, with its manifest embedded or none, or as a form
/// with the manifest as another part. `Content-Digest`, `Repr-Digest` or `Digest`
/// with SHA-256 are checked. `From` says who brings it. `If-Match` or `If-None-Match` is looked at when it
/// was received and once more before it gets traffic: if the service was changed by
/// then, the deployment ends as superseded.
#[utoipa::path(put, path = "/v1/services/{name}", operation_id = "deploy",
    tag = "services",
    params(
        ("name" = String, Path, description = "The service", example = "cart"),
        Wanted,
        ("If-Match" = Option<String>, Header, description = "Only if its entity tag is this"),
        ("If-None-Match" = Option<String>, Header, description = "Only if it is not; `*`: if there is none"),
        ("Content-Digest" = Option<String>, Header, description = "`sha-256=:…:` (RFC 9530)"),
    ),
    request_body(content(
        (String = "application/wasm"),
        (Form = "multipart/form-data"),
    )),
    responses(
        (status = 202, description = "It is on its way", body = Deployment,
         headers(("Location" = String, description = "The deployment"))),
        (status = 408, description = "Nothing came of the body for too long", body = Problem,
         content_type = "application/problem+json"),
        Unchanged,
    ))]
pub(super) async fn put(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Result<Response, Problem> {
    let service: ServiceName =
        name.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    let Wanted { canary, allow_breaking, reference } = wanted;
    let reference = reference.as_deref().map(noted).transpose()?;
    let takeover = canary.as_deref().map_or(Ok(Takeover::AsDeclared), takeover)?;
    let Asking { condition, who } = asked(request.headers())?;
    must_be_whole(request.headers())?;
    let expected = expected_digest(request.headers())?;
    let component = admin.operator.spool().await?;
    let (component, manifest) = receive(request, component, expected).await?;
    let upload = Upload { service, component, manifest, who, takeover, allow_breaking, reference };
    let id = Box::pin(admin.operator.deploy(upload, condition)).await?;
    let location = [(LOCATION, format!("/v1/deployments/{id}"))];
    let deployment = admin.operator.deployment(&id)?;
    Ok((StatusCode::ACCEPTED, location, Json(deployment)).into_response())
}

fn takeover(text: &str) -> Result<Takeover, Problem> {
    match text {
        "true" => Ok(Takeover::Canary(None)),
        "false" => Ok(Takeover::AtOnce),
        steps => {
            let steps = parse_steps(steps.split(','))
                .map_err(|reason| Problem::bad_request(format!("canary: {reason}")))?;
            Ok(Takeover::Canary(Some(steps)))
        }
    }
}

/// The reference that is kept with the version: it must say which bytes it was.
fn noted(text: &str) -> Result<Reference, Problem> {
    let reference: Reference =
        text.parse().map_err(|error| Problem::bad_request(format!("reference: {error}")))?;
    if reference.digest().is_none() {
        return Err(Problem::bad_request(format!("reference: {text} has no @sha256:DIGEST")));
    }
    Ok(reference)
}

/// Refuses a body that is a part of a component (RFC 9110 §14.5), or a coded one (§8.4).
fn must_be_whole(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::bad_request("Content-Range: a component comes whole, not in parts"));
    }
    for coding in headers.get_all(CONTENT_ENCODING) {
        let codings = String::from_utf8_lossy(coding.as_bytes());
        if codings.split(',').any(|coding| !coding.trim().eq_ignore_ascii_case("identity")) {
            let detail = format!("Content-Encoding: a component comes as it is; found: {codings}");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    Ok(())
}

/// The SHA-256 that the body is to have (RFC 9530; `Digest` as RFC 3230 has it).
fn expected_digest(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    for name in ["content-digest", "repr-digest", "digest"] {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        for member in values.flat_map(|value| value.split(',')) {
            let Some((algorithm, digest)) = member.trim().split_once('=') else { continue };
            if !algorithm.eq_ignore_ascii_case("sha-256") {
                continue;
            }
            let digest = STANDARD.decode(digest.trim_matches(':')).unwrap_or_default();
            let digest = digest.try_into().map_err(|_| {
                Problem::bad_request(format!("{name} has no SHA-256 in base64 after `sha-256=`"))
            })?;
            return Ok(Some(digest));
        }
    }
    Ok(None)
}

/// Takes the body in; its component is in the spool then. Returns the manifest
/// beside it, too, if there is one.
async fn receive(
    request: Request,
    mut spool: Spool,
    expected: Option<[u8; 32]>,
) -> Result<(Spool, Option<Vec<u8>>), Problem> {
    let (head, body) = request.into_parts();
    let idle_timeout = spool.idle_timeout();
    let shared = Arc::new(Mutex::new(Hashed {
        body: body.into_data_stream(),
        seen: Sha256::new(),
        idle_timeout,
        gives_up: Box::pin(sleep(idle_timeout)),
        stalled: false,
    }));
    let manifest = take_in(head, &shared, &mut spool).await.map_err(|problem| {
        if lock(&shared).stalled {
            let detail = format!("nothing came of the body for {idle_timeout:?}");
            return Problem::new(StatusCode::REQUEST_TIMEOUT, detail);
        }
        problem
    })?;
    let found: [u8; 32] = lock(&shared).seen.clone().finalize().into();
    if expected.is_some_and(|expected| expected != found) {
        return Err(Problem::bad_request("the body does not have the SHA-256 that was said"));
    }
    Ok((spool, manifest))
}

async fn take_in(
    head: Parts,
    shared: &Arc<Mutex<Hashed>>,
    spool: &mut Spool,
) -> Result<Option<Vec<u8>>, Problem> {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_owned();
    let mut stream = stream_of(shared);
    match kind.as_str() {
        "application/wasm" | "application/octet-stream" => {
            while let Some(chunk) = stream.next().await {
                spool.write(&chunk.map_err(broken)?).await?;
            }
            Ok(None)
        }
        "multipart/form-data" => {
            let mut request = Request::from_parts(head, Body::from_stream(stream_of(shared)));
            // Its parts have limits of their own.
            DefaultBodyLimit::disable().apply(&mut request);
            let form = Multipart::from_request(request, &()).await.map_err(broken)?;
            let manifest = parts(form, spool).await?;
            // What comes after the last part belongs to the digest, too.
            while let Some(chunk) = stream.next().await {
                chunk.map_err(broken)?;
            }
            Ok(manifest)
        }
        _ => {
            let detail = "application/wasm or multipart/form-data is expected";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// The component goes to the spool; the manifest is returned.
async fn parts(mut form: Multipart, spool: &mut Spool) -> Result<Option<Vec<u8>>, Problem> {
    let mut manifest = None;
    let mut has_component = false;
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("component") if !has_component => {
                has_component = true;
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    spool.write(&chunk).await?;
                }
            }
            Some("manifest") if manifest.is_none() => {
                let mut text = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    text.extend_from_slice(&chunk);
                    if text.len() > MAX_TEXT_BYTES {
                        let detail = format!("the manifest has more than {MAX_TEXT_BYTES} bytes");
                        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
                    }
                }
                manifest = Some(text);
            }
            _ => {
                let detail = "the form has one part `component` and at most one `manifest`";
                return Err(Problem::bad_request(detail));
            }
        }
    }
    if !has_component {
        return Err(Problem::bad_request("the form has no part `component`"));
    }
    Ok(manifest)
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format!("the body could not be read: {error}"))
}

/// A body, and the digest of what came of it.
struct Hashed {
    body: BodyDataStream,
    seen: Sha256,
    idle_timeout: Duration,
    /// When it is given up unless something comes.
    gives_up: Pin<Box<Sleep>>,
    stalled: bool,
}

/// The rest of the body, for whoever reads it next.
fn stream_of(
    shared: &Arc<Mutex<Hashed>>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static {
    let shared = Arc::clone(shared);
    poll_fn(move |context| lock(&shared).poll(context))
}

impl Hashed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_next(context);
        match &polled {
            Poll::Ready(chunk) => {
                if let Some(Ok(chunk)) = chunk {
                    self.seen.update(chunk);
                }
                self.gives_up.as_mut().reset(Instant::now() + self.idle_timeout);
            }
            Poll::Pending if self.gives_up.as_mut().poll(context).is_ready() => {
                self.stalled = true;
                let error = axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Pending => {}
        }
        polled
    }
}

fn lock(shared: &Mutex<Hashed>) -> MutexGuard<'_, Hashed> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
