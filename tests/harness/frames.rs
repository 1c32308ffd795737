//! HTTP/2 by the frame (RFC 9113).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection on which a test says exactly which frames it wants to.
pub struct Frames {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    /// Connects and begins, with these settings (identifier and value).
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut frames = Self { stream, read: Vec::new() };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        assert!(frames.send(start).await, "the host is there");
        frames
    }

    /// Ends its side: nothing more is asked.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }

    /// Sends to a peer that may be gone. Returns whether it could.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        sent.is_ok_and(|sent| sent.is_ok())
    }

    /// The next frame, or none where the peer has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, stream @ ..] = &self.read[..]
                && let Some(stream) = stream.first_chunk()
            {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if self.read.len() >= 9 + length {
                    let (kind, flags) = (*kind, *flags);
                    let stream = u32::from_be_bytes(*stream);
                    let payload = self.read.drain(..9 + length).skip(9).collect();
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            let mut buffer = vec![0; 16 << 10];
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            let count = read.expect("something in time").unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.read.extend_from_slice(&buffer[..count]);
        }
    }

    /// The next frame of this kind, or none where the peer closes before.
    pub async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The code that it says goodbye with, when it has closed; none where it said nothing.
    pub async fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                let last = frame.payload[4..8].try_into().expect("a code");
                code = Some(u32::from_be_bytes(last));
            }
        }
        code
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head of these fields, not compressed.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in fields {
        head.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length is one byte");
            head.push(u8::try_from(text.len()).expect("short"));
            head.extend(text.as_bytes());
        }
    }
    head
}

/// A request's head, not compressed.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let method = match method {
        "GET" => 0x82,
        "POST" => 0x83,
        _ => panic!("{method} is not in the table"),
    };
    let mut head = vec![method, 0x86];
    for (name, value) in [(0x04, path), (0x01, "localhost")] {
        assert!(value.len() < 127, "a length is one byte");
        head.push(name);
        head.push(u8::try_from(value.len()).expect("short"));
        head.extend(value.as_bytes());
    }
    head
}
