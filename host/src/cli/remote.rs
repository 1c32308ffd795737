//! A running host, asked over its admin listener.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use eventsource_stream::{Event, Eventsource as _};
use futures_util::{Stream, TryStreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, FROM, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, CONTROLS};
use serde_json::Value;

use super::exit;
use crate::config::Token;
use crate::machine;

/// How the public listener's answer begins where no service has the path.
const OF_SERVICES: &str = "no service answers /";
/// What names the file with the token.
const TOKEN_NAMED_BY: &str = "--token-file or HOTDOCK_TOKEN_FILE";
/// What the host says where one deployment is in another's way.
const ON_ITS_WAY: &str = "is on its way";
/// How long a host lets the name of who asks be.
const MAX_WHO_BYTES: usize = 254;
/// Besides what isn't ASCII; and `%`, so that the name can be had back.
const NOT_VISIBLE: &AsciiSet = &NOT_ASCII.add(b' ');
const NOT_ASCII: &AsciiSet = &CONTROLS.add(b'%');

/// Which host, and what lets one in.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// The host's admin address
    #[arg(
        long,
        env = "HOTDOCK_ADMIN",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        value_parser = base
    )]
    admin: String,
    /// File with the admin token; HOTDOCK_TOKEN may have the token itself
    #[arg(long, env = "HOTDOCK_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A connection to the host.
pub(super) struct Host {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<Token>,
}

/// What the host answered.
pub(super) struct Reply {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// The same as it came.
    pub(super) text: Bytes,
}

/// The host's refusal.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    detail: String,
    reasons: Vec<String>,
}

impl Remote {
    /// Does `work` with the host.
    pub(super) fn run(
        &self,
        work: impl AsyncFnOnce(&Host) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let host = Host {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base: self.admin.clone(),
            token: self.token()?,
        };
        tokio.context("the asynchronous runtime")?.block_on(work(&host))
    }

    /// The token, if there is one.
    fn token(&self) -> anyhow::Result<Option<Token>> {
        let token = Token::find(self.token_file.as_deref(), TOKEN_NAMED_BY);
        token.map_err(|error| exit::of_token(&error))
    }
}

impl Host {
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Fails, as not found, if there is no such service and none was kept.
    pub(super) async fn knows(&self, service: &str) -> anyhow::Result<()> {
        self.get(&format!("/v1/services/{}/versions", segment(service))).await.map(drop)
    }

    /// With a JSON body.
    pub(super) async fn send_json(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: &Value,
    ) -> anyhow::Result<Reply> {
        let mut headers = headers.to_vec();
        headers.push((CONTENT_TYPE, "application/json".to_owned()));
        self.send(method, path, &headers, Bytes::from(body.to_string())).await
    }

    /// Sends a request; its answer, if it is a success.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let response = self.ask(method, path, headers, body).await?;
        let (head, body) = response.into_parts();
        let text = body.collect().await.with_context(|| self.silent())?.to_bytes();
        let body = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Reply { headers: head.headers, body, text })
    }

    /// What a stream of server-sent events says, for as long as the host sends.
    pub(super) async fn follow(
        &self,
        path: &str,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Event>> + use<>> {
        let accepted = [(ACCEPT, "text/event-stream".to_owned())];
        let response = self.ask(Method::GET, path, &accepted, Bytes::new()).await?;
        let events = response.into_body().into_data_stream().eventsource();
        Ok(events.map_err(|error| anyhow::anyhow!("the host's stream broke off: {error}")))
    }

    /// Sends a request; its answer as it begins, if it is a success.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(token.authorization())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(who) = who(std::env::var_os("USER").as_deref()) {
            request = request.header(FROM, who);
        }
        let request = request.body(Full::new(body)).context("the request")?;
        let response = self.client.request(request).await.with_context(|| self.silent())?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.into_body().collect().await.with_context(|| self.silent())?.to_bytes();
        let body: Value = serde_json::from_slice(&text).unwrap_or_default();
        let reasons = body["reasons"].as_array().into_iter().flatten();
        let detail = body["detail"].as_str().unwrap_or("no reason was given");
        if status == StatusCode::NOT_FOUND && detail.starts_with(OF_SERVICES) {
            anyhow::bail!(
                "{} is where a host's services answer, and not its admin address: name that one \
                 (--admin, HOTDOCK_ADMIN)",
                self.base
            );
        }
        Err(Refused {
            status,
            detail: detail.to_owned(),
            reasons: reasons.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
        .into())
    }

    fn silent(&self) -> String {
        format!("{} does not answer (--admin, HOTDOCK_ADMIN)", self.base)
    }
}

impl Refused {
    /// Whether it may be otherwise in a while.
    pub(super) fn is_for_now(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether a deployment of the service is on its way.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.status == StatusCode::CONFLICT && self.detail.contains(ON_ITS_WAY)
    }

    /// With more behind what the host says.
    pub(super) fn with(mut self, more: &str) -> Self {
        self.detail = format!("{}; {more}", self.detail);
        self
    }

    /// Whether there is nothing of what was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// What scripts are told of it.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.status {
            StatusCode::NOT_FOUND => exit::NOT_FOUND,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => exit::DENIED,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => exit::CONFLICT,
            status if status.is_client_error() => exit::REFUSED,
            _ => exit::FAILED,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reasons.as_slice() {
            [] => f.write_str(&self.detail),
            reasons => {
                f.write_str("refused")?;
                reasons
                    .iter()
                    .try_for_each(|reason| write!(f, "\n  - {}", reason.replace('\n', "\n    ")))
            }
        }
    }
}

impl std::error::Error for Refused {}

/// Who asks, in visible ASCII: by the name in `USER`, else by the user's, else by number. None where that
/// is empty or longer than a host takes.
fn who(user: Option<&OsStr>) -> Option<String> {
    let Some(user) = user else {
        // `uid 7` where it has no name.
        let name = machine::user(rustix::process::getuid().as_raw());
        let name = percent_encoding::utf8_percent_encode(&name, NOT_ASCII).to_string();
        return (name.len() <= MAX_WHO_BYTES).then_some(name);
    };
    let name = percent_encoding::percent_encode(user.as_bytes(), NOT_VISIBLE).to_string();
    (1..=MAX_WHO_BYTES).contains(&name.len()).then_some(name)
}

/// The part of a path that a name is.
pub(super) fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2D", "-")
}

/// The value of a query's key.
pub(super) fn value(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `http://host:port`; the scheme may be left out.
fn base(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if address.contains('@') {
        return Err("a host asks for no user and password: leave them out, and give its token \
                    with --token-file or HOTDOCK_TOKEN"
            .to_owned());
    }
    // As `hotdock up` takes it, which listens at all addresses then.
    let address = match address.strip_prefix(':') {
        Some(port) if port.parse::<u16>().is_ok() => &format!("127.0.0.1{address}"),
        _ => address,
    };
    if address.parse::<http::uri::Authority>().is_err() || address.starts_with(':') {
        return Err(
            "http://HOST:PORT expected; for https have a tunnel or proxy lead there".to_owned()
        );
    }
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_cannot_be_used_where_it_is_not_there_and_is_wrong_where_it_has_no_token() {
        let empty = tempfile::NamedTempFile::new().expect("a file");
        for (file, code) in [
            (PathBuf::from("/nonexistent/token"), exit::REFUSED),
            (PathBuf::from("/dev/zero"), exit::REFUSED),
            (empty.path().to_owned(), exit::DENIED),
        ] {
            let remote = Remote { admin: String::new(), token_file: Some(file) };
            let error = remote.token().expect_err("no token");
            assert_eq!(exit::of(&error), Some(code));
            let said = error.to_string();
            assert!(said.contains(" (--token-file or HOTDOCK_TOKEN_FILE): "), "{said}");
        }
    }

    #[test]
    fn what_is_said_of_a_deployment_in_the_way_goes_on() {
        let refused = |status: StatusCode, detail: &str| Refused {
            status,
            detail: detail.to_owned(),
            reasons: Vec::new(),
        };
        let busy = "a deployment of cart is on its way; see /v1/deployments";
        let busy = refused(StatusCode::CONFLICT, busy);
        assert!(busy.is_in_the_way());
        let said = busy.with("more").to_string();
        assert_eq!(said, "a deployment of cart is on its way; see /v1/deployments; more");
        assert!(!refused(StatusCode::CONFLICT, "it is at revision 3").is_in_the_way());
    }

    #[test]
    fn who_asks_is_said_in_visible_ascii() {
        let named = |user: &str| who(Some(OsStr::new(user)));
        assert_eq!(named("ann").as_deref(), Some("ann"));
        assert_eq!(named("jürgen o%").as_deref(), Some("j%C3%BCrgen%20o%25"));
        assert_eq!(named(""), None);
        assert_eq!(named(&"ü".repeat(43)), None, "it has more than 254 bytes");
        assert!(who(None).is_some_and(|who| !who.is_empty()));
    }

    #[test]
    fn an_address_may_leave_its_scheme_out() {
        for text in ["127.0.0.1:8081", "http://127.0.0.1:8081", "http://127.0.0.1:8081/"] {
            assert_eq!(base(text).as_deref(), Ok("http://127.0.0.1:8081"));
        }
        assert_eq!(base(":31081").as_deref(), Ok("http://127.0.0.1:31081"));
        for wrong in ["https://127.0.0.1:8081", "http://a/b", "", ":", ":x", ":70000"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
        let refused = base("http://ann:secret@127.0.0.1:8081").expect_err("credentials");
        assert!(refused.contains("--token-file"), "{refused}");
    }
}
