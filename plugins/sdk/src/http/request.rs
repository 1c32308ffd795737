//! A request, as far as the service looks at it.

use std::cell::OnceCell;

use http::{HeaderMap, HeaderValue, Method, Uri};
use serde::de::DeserializeOwned;
use wasip2::http::types as wasi;

use super::host::{self, Broken};
use super::{Fields, Query, typed, whole};
use crate::problem::Problem;

/// A request. Headers and body are fetched or read when the service first looks at them, so
/// what it doesn't look at costs next to nothing.
#[derive(Debug)]
pub struct Request {
    method: Method,
    uri: Uri,
    headers: OnceCell<HeaderMap>,
    body: OnceCell<Result<Vec<u8>, Broken>>,
    rest: Rest,
}

/// Where what was not looked at yet is to be had.
#[derive(Debug)]
enum Rest {
    /// There is nothing more.
    Nothing,
    /// The headers, as lines; it came with its body.
    Lines(Vec<u8>),
    /// At the host.
    Host(wasi::IncomingRequest),
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
            rest: Rest::Nothing,
        }
    }

    pub(super) fn of_whole(request: whole::Request) -> Self {
        Self {
            method: whole::method(request.method),
            uri: host::target(request.target),
            headers: OnceCell::new(),
            body: OnceCell::from(Ok(request.body)),
            rest: Rest::Lines(request.headers),
        }
    }

    pub(super) fn of_host(request: wasi::IncomingRequest) -> Self {
        Self {
            method: host::method(request.method()),
            uri: host::target(request.path_with_query().unwrap_or_default()),
            headers: OnceCell::new(),
            body: OnceCell::new(),
            rest: Rest::Host(request),
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
    pub fn query(&self) -> Query<'_> {
        Query::of(&self.uri)
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| match &self.rest {
            Rest::Nothing => HeaderMap::new(),
            Rest::Lines(lines) => whole::headers(lines),
            Rest::Host(request) => host::headers(request),
        })
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
        let body = self.body.get_or_init(|| match &self.rest {
            Rest::Host(request) => host::body(request),
            Rest::Nothing | Rest::Lines(_) => Ok(Vec::new()),
        });
        body.as_deref().map_err(|_| Problem::malformed("the request's body broke off"))
    }

    /// The body, read as JSON, whatever its `Content-Type` is:
    ///
    /// ```
    /// use hotdock_sdk::testing::request;
    /// use serde::Deserialize;
    ///
    /// #[derive(Debug, Deserialize, PartialEq)]
    /// struct Order {
    ///     product: String,
    ///     quantity: u32,
    /// }
    ///
    /// let order = request("POST", "/", r#"{"product":"tea","quantity":2}"#).json::<Order>()?;
    /// assert_eq!(order, Order { product: "tea".to_owned(), quantity: 2 });
    /// let wrong = request("POST", "/", r#"{"product":"tea"}"#).json::<Order>().unwrap_err();
    /// assert_eq!(wrong.field(), Some("quantity"));
    /// # Ok::<_, hotdock_sdk::problem::Problem>(())
    /// ```
    ///
    /// # Errors
    /// 400 if it is not JSON of that shape, naming the field where it is one (`items[0].quantity`);
    /// and as [`Request::body`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        typed::of_json(self.body()?)
    }

    /// The fields of a body that is a JSON object.
    ///
    /// # Errors
    /// As [`Fields::of`] and [`Request::body`].
    pub fn fields(&self) -> Result<Fields, Problem> {
        Fields::of(self.body()?)
    }

    /// Why the body broke off, if it did.
    pub(super) fn into_broken(self) -> Option<Broken> {
        self.body.into_inner()?.err()
    }
}
