//! A request, as far as the service looks at it.

use std::cell::OnceCell;

use http::{HeaderMap, HeaderValue, Method, Uri};
use wasip2::http::types as wasi;

use super::Query;
use super::host::{self, Broken};
use crate::problem::Problem;

/// A request. Headers and body are fetched from the host when the service first looks at
/// them, so what it doesn't look at costs nothing.
#[derive(Debug)]
pub struct Request {
    method: Method,
    uri: Uri,
    headers: OnceCell<HeaderMap>,
    body: OnceCell<Result<Vec<u8>, Broken>>,
    /// Who has the rest; a test gives it all at once.
    host: Option<wasi::IncomingRequest>,
}

impl Request {
    /// A request that is all there, without headers.
    #[must_use]
    pub fn whole(method: Method, uri: Uri, body: Vec<u8>) -> Self {
        Self {
            method,
            uri,
            headers: HeaderMap::new().into(),
            body: OnceCell::from(Ok(body)),
            host: None,
        }
    }

    pub(super) fn of_host(request: wasi::IncomingRequest) -> Self {
        Self {
            method: host::method(request.method()),
            uri: host::target(request.path_with_query()),
            headers: OnceCell::new(),
            body: OnceCell::new(),
            host: Some(request),
        }
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Its target: path and query, without scheme and authority.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The path, as it was sent: `%2F` is still `%2F`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query's parameters.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::of(&self.uri)
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| self.host.as_ref().map(host::headers).unwrap_or_default())
    }

    /// The first value of a header field, whose name may be in any case.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers().get(name)
    }

    /// The whole body.
    ///
    /// # Errors
    /// It broke off. Whatever the service answers then, the invocation is given up: nothing
    /// that it wrote is kept.
    pub fn body(&self) -> Result<&[u8], Problem> {
        let body =
            self.body.get_or_init(|| self.host.as_ref().map_or_else(|| Ok(Vec::new()), host::body));
        body.as_deref().map_err(|_| Problem::malformed("the request's body broke off"))
    }

    /// Why the body broke off, if it did.
    pub(super) fn into_broken(self) -> Option<Broken> {
        self.body.into_inner()?.err()
    }
}
