//! A registry, asked over HTTP (OCI Distribution Specification 1.1). Whatever it answers is
//! read up to a limit and in limited time: it may be anybody's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use oci_client::secrets::RegistryAuth;
use reqwest::{Method, Response, Url, redirect};
use serde::Deserialize;

use super::cause::Cause;
use super::{Access, Reference};

/// How long a registry may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an exchange may take in all, besides what its bytes take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How fast bytes come or go at the least.
const LEAST_BYTES_PER_SECOND: u64 = 32 << 10;
/// The largest token that is read, and the largest word of why something is refused.
const MAX_TOKEN_BYTES: u64 = 64 << 10;
const MAX_ERROR_BYTES: u64 = 16 << 10;
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Pull,
    Push,
}

/// A repository of a registry.
pub(super) struct Client<'a> {
    http: reqwest::Client,
    reference: &'a Reference,
    /// `https://registry.example`
    base: Url,
    credentials: RegistryAuth,
    intent: Intent,
    /// What lets one in, once that is known.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A request, which is made again where it is redirected.
#[derive(Clone)]
struct Asked {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

/// What lets one in, and where.
#[derive(Clone, Copy)]
struct Secret<'a> {
    at: &'a Url,
    value: &'a HeaderValue,
}

/// A token of the registry's (Distribution Specification, token authentication).
#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl<'a> Client<'a> {
    /// Finds out how the registry lets one in.
    pub(super) async fn enter(
        reference: &'a Reference,
        access: &Access,
        intent: Intent,
    ) -> Result<Self, Cause> {
        let plain = access.plain_http || reference.is_loopback();
        let base = format!("{}://{}", if plain { "http" } else { "https" }, host_of(reference));
        let base = Url::parse(&base).map_err(|error| Cause::Said(error.to_string()))?;
        let credentials = access.credentials.as_client().clone();
        let client = Self {
            http: http()?,
            reference,
            base,
            credentials,
            intent,
            authorization: Mutex::default(),
        };
        let known = match &client.credentials {
            RegistryAuth::Bearer(token) => Some(secret(format!("Bearer {token}"))?),
            _ => {
                let asked = Asked::get(client.url("/v2/")?);
                let response = send(&client.http, asked, None).await?;
                client.let_in(response.headers()).await?
            }
        };
        *client.authorization() = known;
        Ok(client)
    }

    /// What lets one in who was answered so.
    async fn let_in(&self, answered: &HeaderMap) -> Result<Option<HeaderValue>, Cause> {
        let basic = match &self.credentials {
            RegistryAuth::Basic(user, password) => {
                let encoded = STANDARD.encode(format!("{user}:{password}"));
                Some(secret(format!("Basic {encoded}"))?)
            }
            _ => None,
        };
        let Some(challenge) = bearer(answered) else {
            return Ok(basic.filter(|_| answered.contains_key(WWW_AUTHENTICATE)));
        };
        let mut realm = Url::parse(&challenge.realm)
            .map_err(|_| Cause::Said("it names no address that gives tokens".to_owned()))?;
        // What lets one in goes nowhere in the clear that wasn't asked in the clear.
        let fits = realm.scheme() == "https" || self.base.scheme() == "http";
        if !fits || !matches!(realm.scheme(), "https" | "http") {
            return Err(Cause::Said("its tokens are to be fetched in the clear".to_owned()));
        }
        let what = if self.intent == Intent::Pull { "pull" } else { "pull,push" };
        let scope = format!("repository:{}:{what}", self.reference.repository());
        realm.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = &challenge.service {
            realm.query_pairs_mut().append_pair("service", service);
        }
        let secret_of_realm = basic.as_ref().map(|value| Secret { at: &realm, value });
        let response = send(&self.http, Asked::get(realm.clone()), secret_of_realm).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(if status.is_server_error() {
                refused(response).await
            } else {
                Cause::Unauthorized
            });
        }
        let text = read(response, "its token", MAX_TOKEN_BYTES).await?;
        let token: Token = serde_json::from_slice(&text)
            .map_err(|_| Cause::Said("it gives no token where it says so".to_owned()))?;
        secret(format!("Bearer {}", token.token)).map(Some)
    }

    /// What is at a path of the repository.
    pub(super) async fn get(&self, path: &str, accept: Option<&str>) -> Result<Response, Cause> {
        let mut asked = Asked::get(self.path(path)?);
        if let Some(accept) = accept {
            let accept = HeaderValue::from_str(accept).expect("media types are visible ASCII");
            asked.headers.insert(ACCEPT, accept);
        }
        let response = self.exchange(asked).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            _ => Err(refused(response).await),
        }
    }

    /// Stores a blob under its digest, at once.
    pub(super) async fn put_blob(&self, digest: &str, blob: Bytes) -> Result<(), Cause> {
        let begin = Asked { method: Method::POST, ..Asked::get(self.path("blobs/uploads/")?) };
        let response = self.exchange(begin).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(refused(response).await);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| self.base.join(location).ok());
        let mut location = location
            .filter(|location| matches!(location.scheme(), "http" | "https"))
            .ok_or_else(|| Cause::Said("it does not say where a blob goes".to_owned()))?;
        if self.base.scheme() == "https" && location.scheme() == "http" {
            return Err(Cause::Said("it wants a blob sent in the clear".to_owned()));
        }
        location.query_pairs_mut().append_pair("digest", digest);
        self.put(location, "application/octet-stream", blob).await
    }

    /// Stores a manifest under a tag.
    pub(super) async fn put_manifest(
        &self,
        tag: &str,
        kind: &str,
        manifest: Bytes,
    ) -> Result<(), Cause> {
        self.put(self.path(&format!("manifests/{tag}"))?, kind, manifest).await
    }

    async fn put(&self, url: Url, kind: &str, body: Bytes) -> Result<(), Cause> {
        let mut asked = Asked { method: Method::PUT, body, ..Asked::get(url) };
        let kind = HeaderValue::from_str(kind).expect("media types are visible ASCII");
        asked.headers.insert(CONTENT_TYPE, kind);
        let response = self.exchange(asked).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(refused(response).await),
        }
    }

    /// Asks with what lets one in; where the registry says how one is let in only now, once more.
    async fn exchange(&self, asked: Asked) -> Result<Response, Cause> {
        let known = self.authorization().clone();
        let secret = |value| Secret { at: &self.base, value };
        let response = send(&self.http, asked.clone(), known.as_ref().map(secret)).await?;
        let is_refused = response.status() == StatusCode::UNAUTHORIZED;
        if !is_refused || known.is_some() || asked.url.origin() != self.base.origin() {
            return Ok(response);
        }
        let Some(known) = self.let_in(response.headers()).await? else { return Ok(response) };
        *self.authorization() = Some(known.clone());
        send(&self.http, asked, Some(secret(&known))).await
    }

    fn authorization(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, path: &str) -> Result<Url, Cause> {
        self.url(&format!("/v2/{}/{path}", self.reference.repository()))
    }

    fn url(&self, path: &str) -> Result<Url, Cause> {
        self.base.join(path).map_err(|error| Cause::Said(error.to_string()))
    }
}

/// How long an answer, or what is sent, of so many bytes may take.
pub(super) fn time_for(bytes: u64) -> Duration {
    EXCHANGE_TIMEOUT + Duration::from_secs(bytes / LEAST_BYTES_PER_SECOND)
}

/// A body of at most so many bytes.
pub(super) async fn read(response: Response, what: &str, most: u64) -> Result<Vec<u8>, Cause> {
    let too_large = || Cause::Said(format!("{what} has more than {most} bytes"));
    let said = response.content_length();
    if said.is_some_and(|bytes| bytes > most) {
        return Err(too_large());
    }
    read_within(response, what, most, time_for(said.unwrap_or(most))).await?.ok_or_else(too_large)
}

async fn read_within(
    response: Response,
    what: &str,
    most: u64,
    limit: Duration,
) -> Result<Option<Vec<u8>>, Cause> {
    let within = tokio::time::timeout(limit, read_all(response, most));
    match within.await {
        Ok(read) => read,
        Err(_) => Err(Cause::Said(format!("{what} did not come within {limit:?}"))),
    }
}

/// None where there is more.
async fn read_all(mut response: Response, most: u64) -> Result<Option<Vec<u8>>, Cause> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Cause::Http)? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

fn http() -> Result<reqwest::Client, Cause> {
    // The client takes the process's provider; there is one already where another
    // client was made.
    _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("hotdock/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Cause::Http)
}

/// Sends a request, also where it is redirected; its answer's head. The secret goes where it is
/// for and nowhere else: it is looked at for each redirect anew, since those of anybody's may
/// lead anywhere (CVE-2020-15157).
async fn send(
    http: &reqwest::Client,
    mut asked: Asked,
    secret: Option<Secret<'_>>,
) -> Result<Response, Cause> {
    for _ in 0..=MAX_REDIRECTS {
        let is_for = secret.filter(|secret| secret.at.origin() == asked.url.origin());
        let response = asked.send(http, is_for.map(|secret| secret.value)).await?;
        match asked.redirected(&response)? {
            Some(next) => asked = next,
            None => return Ok(response),
        }
    }
    Err(Cause::Said(format!("it redirects more than {MAX_REDIRECTS} times")))
}

impl Asked {
    fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    async fn send(
        &self,
        http: &reqwest::Client,
        secret: Option<&HeaderValue>,
    ) -> Result<Response, Cause> {
        let Self { method, url, headers, body } = self.clone();
        let limit = time_for(body.len() as u64);
        let mut request = http.request(method.clone(), url).headers(headers);
        if method != Method::GET {
            request = request.body(body);
        }
        if let Some(secret) = secret {
            request = request.header(AUTHORIZATION, secret);
        }
        match tokio::time::timeout(limit, request.send()).await {
            Ok(answered) => answered.map_err(Cause::Http),
            Err(_) => Err(Cause::Said(format!("it did not answer within {limit:?}"))),
        }
    }

    /// What is asked next, where this was answered by a redirect (RFC 9110 §15.4).
    fn redirected(&self, response: &Response) -> Result<Option<Self>, Cause> {
        let status = response.status();
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
            return Ok(None);
        };
        let url = location.to_str().ok().and_then(|location| self.url.join(location).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| Cause::Said("it redirects to no address".to_owned()))?;
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(Cause::Said("it redirects from https to http".to_owned()));
        }
        let becomes_get = status == StatusCode::SEE_OTHER
            || (self.method == Method::POST && matches!(status.as_u16(), 301 | 302));
        if becomes_get {
            return Ok(Some(Self::get(url)));
        }
        Ok(Some(Self { url, ..self.clone() }))
    }
}

/// Why the registry does not do it.
async fn refused(response: Response) -> Cause {
    let status = response.status();
    // Whatever goes wrong with the words, the status is known.
    let said = read(response, "its answer", MAX_ERROR_BYTES).await.unwrap_or_default();
    Cause::refused(status, &said)
}

fn secret(value: String) -> Result<HeaderValue, Cause> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| Cause::Said("its token cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

struct Challenge {
    realm: String,
    service: Option<String>,
}

/// Where tokens are given (RFC 6750 §3).
fn bearer(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut challenges =
        values.flat_map(|value| http_auth::parse_challenges(value).unwrap_or_default());
    let challenge = challenges.find(|each| each.scheme.eq_ignore_ascii_case("bearer"))?;
    let parameter = |wanted: &str| {
        let mut found = challenge.params.iter();
        let (_, value) = found.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(value.to_unescaped())
    };
    Some(Challenge { realm: parameter("realm")?, service: parameter("service") })
}

/// Docker Hub's registry is not at its name.
fn host_of(reference: &Reference) -> &str {
    reference.as_client().resolve_registry()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Body, Frame};
    use tokio::time::{Interval, interval};

    use super::*;

    /// A byte now and then, for ever.
    struct Drip(Interval);

    impl Body for Drip {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            let frame = Frame::data(Bytes::from_static(b" "));
            self.0.poll_tick(context).map(|_| Some(Ok(frame)))
        }
    }

    #[tokio::test]
    async fn what_drips_is_given_up_though_something_comes_all_the_time() {
        let drip = Drip(interval(Duration::from_millis(1)));
        let response = Response::from(http::Response::new(reqwest::Body::wrap(drip)));
        let limit = Duration::from_millis(50);
        let read = read_within(response, "its manifest", 1 << 30, limit).await;
        let said =
            |cause| matches!(cause, Cause::Said(said) if said.contains("did not come within 50ms"));
        assert!(read.is_err_and(said));
        assert_eq!(time_for(1 << 20), Duration::from_secs(60 + 32));
    }
}
