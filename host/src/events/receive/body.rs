//! A body that is read whole, within its bounds of time and room.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::room::Part;
use super::{BODY_TIMEOUT, IntakeError, IntakeLimits};
use crate::drain;

/// Reads a body to its end; `part` of the room grows with it.
pub(super) async fn read<B>(
    mut body: B,
    limits: IntakeLimits,
    part: &mut Part,
) -> Result<Bytes, IntakeError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = timeout(BODY_TIMEOUT, read_in(&mut body, limits, part)).await;
    let read = read.unwrap_or(Err(IntakeError::BodyLate));
    // Its client is in the middle of sending, and is to learn why.
    if matches!(&read, Err(IntakeError::Overloaded | IntakeError::SenderOverloaded)) {
        drain::later(body, limits.max_body);
    }
    read
}

async fn read_in<B>(
    body: &mut B,
    limits: IntakeLimits,
    part: &mut Part,
) -> Result<Bytes, IntakeError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut whole = Pieces::None;
    let mut length = 0;
    loop {
        let frame = match timeout(limits.body_idle, body.frame()).await {
            Err(_) => return Err(IntakeError::BodyIdle(limits.body_idle)),
            Ok(None) => return Ok(whole.joined()),
            Ok(Some(Err(_))) => return Err(IntakeError::BodyBroken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > limits.max_body {
            return Err(IntakeError::BodyTooLarge(limits.max_body));
        }
        part.grow(data.len() as u64)?;
        whole.push(data);
    }
}

/// What came of a body. Where it is in several pieces they are copied together: each of them
/// alone keeps the buffer that it was read into, so that many small ones would take far more
/// than their bytes.
enum Pieces {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Pieces {
    fn push(&mut self, data: Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        };
    }

    fn joined(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(data) => data,
            Self::Many(all) => all.freeze(),
        }
    }
}
