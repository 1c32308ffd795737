//! A child's output, read to its end and kept in part.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first `most` bytes.
pub(super) async fn head(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<String> {
    read(from, |kept| kept.truncate(most)).await
}

/// The first and the last `most` bytes: what went wrong is said first, or last.
pub(super) async fn ends(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<String> {
    read(from, |kept| {
        if kept.len() > 2 * most {
            kept.drain(most..kept.len() - most);
        }
    })
    .await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_first_is_kept_however_much_comes_after_it() {
        let said = format!("memory allocation of 7 bytes failed\n{}", "frame\n".repeat(10_000));
        let kept = ends(Some(said.as_bytes()), 100).await.expect("text");
        assert!(kept.starts_with("memory allocation of 7") && kept.len() == 200, "{kept}");
    }
}
