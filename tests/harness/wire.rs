//! One request, exactly as it is written, by HTTP/1.1 and by HTTP/2, and all that comes of it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::raw::Raw;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: &'static str,
    /// The authority of an absolute target (HTTP/1.1), and `:authority`.
    pub authority: Option<&'static str>,
    /// Path and query, or what is in their place.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<&'static str>,
}

/// What comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    Answer(Box<Answer>),
    /// The stream was reset with this code.
    Reset(u32),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Asked {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, authority: None, target: target.into(), headers: Vec::new(), body: None }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn authority(mut self, authority: &'static str) -> Self {
        self.authority = Some(authority);
        self
    }

    pub fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    /// Asks by HTTP/1.1, with `Host` as it is among the headers, else `x`. Where the connection
    /// stays, the next request on it has to be answered, too: so nothing is left of this one.
    pub async fn http1(&self, address: SocketAddr) -> Came {
        let mut raw = Raw::connect(address).await;
        raw.send(self.written()).await;
        let answer = read(&mut raw, self.method).await;
        let closes = answer.headers.get("connection").is_some_and(|value| value == "close");
        if closes {
            assert_eq!(raw.read_to_end().await, "", "nothing comes after {self:?}");
        } else {
            raw.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let next = read(&mut raw, "OPTIONS").await;
            assert_eq!(next.status, 204, "the next one after {self:?}");
        }
        Came::Answer(Box::new(answer))
    }

    fn written(&self) -> String {
        let scheme =
            self.authority.map_or(String::new(), |authority| format!("http://{authority}"));
        let mut text = format!("{} {scheme}{} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| *name == "host") {
            text.push_str("Host: x\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        format!("{text}\r\n{}", self.body.unwrap_or_default())
    }

    /// Asks by HTTP/2, where its library can say that. `:authority` is the one that it has, else
    /// what `Host` would be.
    pub async fn http2(&self, address: SocketAddr) -> Option<Came> {
        let request = self.request()?;
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let (response, mut body) = client.send_request(request, self.body.is_none()).expect("sent");
        if let Some(text) = self.body {
            let _refused_already = body.send_data(Bytes::from_static(text.as_bytes()), true);
        }
        let came = timeout(PATIENCE, received(response)).await.expect("an answer in time");
        connection.abort();
        Some(came.unwrap_or_else(|error| match error.reason() {
            Some(reason) => Came::Reset(reason.into()),
            None => panic!("{self:?}: {error}"),
        }))
    }

    fn request(&self) -> Option<Request<()>> {
        let host = self.headers.iter().find(|(name, _)| *name == "host");
        let authority = self.authority.or(host.map(|(_, value)| value.as_str())).unwrap_or("x");
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(Authority::try_from(authority).ok()?)
            .path_and_query(PathAndQuery::try_from(self.target.as_str()).expect("a target"));
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).expect("a method");
        *request.uri_mut() = uri.build().expect("a URI");
        for (name, value) in &self.headers {
            if *name == "host" && self.authority.is_none() {
                continue;
            }
            let value = HeaderValue::try_from(value).expect("a value");
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        Some(request)
    }
}

async fn received(response: h2::client::ResponseFuture) -> Result<Came, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let status = head.status.as_u16();
    Ok(Came::Answer(Box::new(Answer { status, headers: head.headers, body, trailers })))
}

/// Reads one answer to a request with this method, as RFC 9112 §6.3 says where it ends.
pub async fn read(raw: &mut Raw, method: &str) -> Answer {
    let head = raw.until("\r\n\r\n").await;
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let status: u16 = status.parse().expect("a number");
    let headers = fields(lines);
    let length = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().expect("text"));
    let mut trailers = HeaderMap::new();
    let bodiless =
        [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].iter().any(|it| *it == status);
    let body = if method == "HEAD" || bodiless {
        Vec::new()
    } else if length("transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let size = raw.until("\r\n").await;
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
            if size == 0 {
                break;
            }
            body.extend(raw.exactly(size).await);
            raw.exactly(2).await;
        }
        let mut lines = Vec::new();
        loop {
            let line = raw.until("\r\n").await;
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        trailers = fields(lines.iter().map(String::as_str));
        body
    } else if let Some(length) = length("content-length") {
        raw.exactly(length.parse().expect("a length")).await
    } else {
        raw.read_to_end().await.into_bytes()
    };
    Answer { status, headers, body, trailers }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let name = HeaderName::try_from(name).expect("a name");
        fields.append(name, HeaderValue::try_from(value).expect("a value"));
    }
    fields
}

impl Came {
    pub fn answer(&self) -> &Answer {
        match self {
            Self::Answer(answer) => answer,
            Self::Reset(code) => panic!("reset with {code}"),
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}
