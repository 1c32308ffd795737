//! A child's output, read to its end and kept in part.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first `most` bytes.
pub(super) async fn head(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<String> {
    read(from, |kept| kept.truncate(most)).await
}

/// The last `most` bytes.
pub(super) async fn tail(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<String> {
    read(from, |kept| _ = kept.drain(..kept.len().saturating_sub(most))).await
}

async fn read(
    from: Option<impl AsyncRead + Unpin>,
    cut: impl Fn(&mut Vec<u8>),
) -> io::Result<String> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        while from.read_buf(&mut kept).await? > 0 {
            cut(&mut kept);
        }
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}
