//! HTTP/1 by the byte.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

/// A connection on which a test says exactly what it wants to.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("a connection"), read: Vec::new() }
    }

    /// The same where the peer may be gone.
    pub async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        Some(Self { stream, read: Vec::new() })
    }

    /// The same from this address.
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        Self::try_connect_from(from, address).await.expect("a connection")
    }

    /// The same where the peer may be gone.
    pub async fn try_connect_from(from: IpAddr, address: SocketAddr) -> Option<Self> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        let stream = socket.connect(address).await.ok()?;
        Some(Self { stream, read: Vec::new() })
    }

    /// The same from a client whose system keeps so many bytes at the most of what comes.
    pub async fn connect_with_room(bytes: u32, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("room");
        let stream = socket.connect(address).await.expect("a connection");
        Self { stream, read: Vec::new() }
    }

    /// Sends to a peer that may be gone. Returns whether it could.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Ends its side: nothing more is asked.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }

    /// So many bytes, when they are here.
    pub async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        while self.read.len() < bytes {
            assert!(self.more().await, "closed before {bytes} bytes: {:?}", self.read);
        }
        self.read.drain(..bytes).collect()
    }

    /// Reads until `end` has come and returns everything up to it.
    pub async fn until(&mut self, end: &str) -> String {
        let mut looked_at = 0;
        loop {
            let rest = &self.read[looked_at..];
            if let Some(at) = rest.windows(end.len()).position(|window| window == end.as_bytes()) {
                let taken: Vec<u8> = self.read.drain(..looked_at + at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            // It may have begun to come.
            looked_at = self.read.len().saturating_sub(end.len());
            if !self.more().await {
                panic!("closed before {end:?}: {}", String::from_utf8_lossy(&self.read));
            }
        }
    }

    /// Reads until the peer closes.
    pub async fn read_to_end(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// Reads until the peer closes, and says whether it did so by a reset.
    pub async fn read_to_reset(&mut self) -> (String, bool) {
        let mut buffer = vec![0; 16 << 10];
        let was_reset = loop {
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.expect("an end in time") {
                Ok(0) => break false,
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(_) => break true,
            }
        };
        (String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned(), was_reset)
    }

    /// Whether something came that was not read yet, without waiting.
    pub fn has_more(&mut self) -> bool {
        let mut buffer = [0; 1024];
        if let Ok(count) = self.stream.try_read(&mut buffer) {
            self.read.extend_from_slice(&buffer[..count]);
        }
        !self.read.is_empty()
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 << 10];
        let read =
            timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an answer in time");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

/// One that is dropped is gone, as the system of such a one says: by a reset.
impl Drop for Raw {
    fn drop(&mut self) {
        _ = self.stream.set_zero_linger();
    }
}
