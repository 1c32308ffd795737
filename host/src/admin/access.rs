//! Who may ask: whoever has the token. Where the operator set none, the listener
//! is loopback-only, and whoever is on this machine, but no web page that a
//! browser on it shows.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::config::Token;
use crate::digest::Digest;

/// What everyone may ask for: probes have no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Where a browser says the page is from that has it ask.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may ask.
#[derive(Clone)]
pub struct Access {
    token: Arc<ArcSwapOption<Token>>,
}

impl Access {
    /// Whoever has the token; without one, whoever is on this machine.
    #[must_use]
    pub fn new(token: Option<Token>) -> Self {
        Self { token: Arc::new(ArcSwapOption::from(token.map(Arc::new))) }
    }

    /// From now on whoever has this one.
    pub fn set(&self, token: Option<Token>) {
        self.token.store(token.map(Arc::new));
    }

    fn allows(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &*self.token.load() else { return is_local(target, headers) };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, given) = given.split_at_checked(7).unwrap_or_default();
        // Digests have one length, and how alike they are says nothing of the texts.
        let same = Digest::of(given).as_bytes().ct_eq(Digest::of(token.reveal()).as_bytes());
        if scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(same) {
            return Ok(());
        }
        let detail = match headers.contains_key(AUTHORIZATION) {
            true => {
                "the admin token that was shown is wrong: show the host's own (--token-file or \
                 HOTDOCK_TOKEN; Authorization: Bearer …)"
            }
            false => {
                "the admin token is needed (--token-file or HOTDOCK_TOKEN; Authorization: Bearer …)"
            }
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
    }
}

/// Lets a request through or answers it.
pub(super) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    if !OPEN.contains(&request.uri().path())
        && let Err(problem) = access.allows(request.uri(), request.headers())
    {
        let unauthorized = problem.status() == StatusCode::UNAUTHORIZED;
        let mut response = problem.into_response();
        if unauthorized {
            let challenge = HeaderValue::from_static("Bearer realm=\"hotdock\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        return response;
    }
    next.run(request).await
}

/// Whether it was meant for this machine by someone on it: a browser says where
/// its page is from, and a name that was made to lead here is not `localhost`.
fn is_local(target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let named = |host: &HeaderValue| host.to_str().ok()?.parse::<Authority>().ok();
    // HTTP/2 has the host in its target, and a target may name another one than the header.
    let in_target = target.authority().cloned().map(Some);
    let hosts: Vec<_> =
        in_target.into_iter().chain(headers.get_all(HOST).iter().map(named)).collect();
    let is_local =
        |host: &Option<Authority>| host.as_ref().is_some_and(|host| is_loopback(host.host()));
    let is_local = !hosts.is_empty() && hosts.iter().all(is_local);
    // What a page only shows has no `Origin`, a picture for one, but is told apart from what
    // its user typed (Fetch Metadata).
    let is_of_a_page = |site: &HeaderValue| site != "none" && site != "same-origin";
    let is_of_a_page =
        headers.contains_key(ORIGIN) || headers.get_all(FETCH_SITE).iter().any(is_of_a_page);
    if is_of_a_page || !is_local {
        let detail = "without a token only programs on this machine may ask, at 127.0.0.1 or \
                      localhost: set one with --token-file";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(access: &Access, headers: &[(&'static str, &str)]) -> Option<u16> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        access
            .allows(&Uri::from_static("/"), &headers.collect())
            .err()
            .map(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_who_has_the_token_may_ask() {
        let token: Token = "correct-horse-battery".parse().expect("a token");
        let access = Access::new(Some(token));
        let with = |value| status(&access, &[("authorization", value)]);
        assert_eq!(with("Bearer correct-horse-battery"), None);
        assert_eq!(with("bearer correct-horse-battery"), None);
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer correct-horse-batterx", "Basic correct-horse-battery"]
        {
            assert_eq!(with(wrong), Some(401), "{wrong}");
        }
        assert_eq!(status(&access, &[]), Some(401));
        let detail = |headers: &HeaderMap| {
            let denied = access.allows(&Uri::from_static("/"), headers).expect_err("denied");
            format!("{denied:?}")
        };
        assert!(detail(&HeaderMap::new()).contains("the admin token is needed"));
        let wrong = (AUTHORIZATION, HeaderValue::from_static("Bearer another-horse-battery"));
        assert!(detail(&HeaderMap::from_iter([wrong])).contains("that was shown is wrong"));
    }

    #[test]
    fn without_a_token_no_web_page_may_ask() {
        let access = Access::new(None);
        for host in ["localhost:8081", "127.0.0.1", "[::1]:8081"] {
            assert_eq!(status(&access, &[("host", host)]), None, "{host}");
        }
        assert_eq!(status(&access, &[("host", "evil.example:8081")]), Some(403));
        assert_eq!(status(&access, &[]), Some(403));
        let by = |target, headers: &HeaderMap| {
            let denied = access.allows(&Uri::from_static(target), headers).err();
            denied.map(|problem| problem.status().as_u16())
        };
        let none = HeaderMap::new();
        let local = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        assert_eq!(by("http://localhost:8081/v1/services", &none), None);
        assert_eq!(by("http://evil.example:8081/v1/services", &none), Some(403));
        assert_eq!(by("http://evil.example:8081/v1/services", &local), Some(403));
        let from_a_page = [("host", "localhost"), ("origin", "https://evil.example")];
        assert_eq!(status(&access, &from_a_page), Some(403));
        // An `Origin` is sent with neither a form's `GET` nor a picture's.
        let from = |site| [("host", "localhost"), ("sec-fetch-site", site)];
        for site in ["cross-site", "same-site", "elsewhere"] {
            assert_eq!(status(&access, &from(site)), Some(403), "{site}");
        }
        for site in ["none", "same-origin"] {
            assert_eq!(status(&access, &from(site)), None, "{site}");
        }
    }
}
