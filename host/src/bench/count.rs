//! Requests between two marks, for a tool that counts what is done between them.

use std::hint::black_box;

use anyhow::bail;

use super::asked::Asked;
use super::subject::Subject;

/// Requests before those that are counted, so that instances, statements and
/// connections are there that all later ones use.
const WARM_UP: usize = 64;

/// Asks so often, between two calls of the marker.
///
/// # Errors
/// When an answer is the host's own excuse.
pub async fn count(subject: &Subject, asked: &Asked, requests: usize) -> anyhow::Result<()> {
    let bytes = asked.bytes(&subject.host());
    let mut client = subject.connect();
    for each in 0..WARM_UP + requests {
        if each == WARM_UP {
            instructions_mark();
        }
        let status = client.ask(&asked.method, &bytes).await?;
        if status.is_server_error() {
            bail!("{} {} was answered {status}", asked.method, asked.target);
        }
    }
    instructions_mark();
    Ok(())
}

/// Does nothing, under a name by which it is found: valgrind writes down what it
/// counted at each call of it.
#[inline(never)]
fn instructions_mark() {
    black_box(());
}
