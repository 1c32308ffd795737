//! What an HTTP/2 peer may send. Its connection outlives the invocation that made it, and what
//! comes on it then is nobody's computing time: who has been asked nothing may say next to
//! nothing, and who has been asked something not much besides its answers.

use crate::listen::frames::{
    BYTES_A_FRAME, Count, DATA, END_STREAM, Flood, Frame, HEADERS, NOTHING, PREFACE, RST_STREAM,
    Walk,
};

/// Frames in 10 s that bring nothing while a request is under way, and what requests earn.
const MAX_CONTROL_FRAMES: u32 = 1_000;

/// What may come while no request is under way, until the next one: settings, a `PING` now and
/// then, a goodbye. Each frame counts as if it were so much longer.
const IDLE_BYTES: u64 = 128 << 10;
const IDLE_FRAME_BYTES: u64 = 1 << 10;

/// How many frames without data an answer may have: interim ones, its head, trailers.
const FRAMES_AN_ANSWER: u64 = 8;

/// What may be on its way when an answer is given up: the window of one, with its frames.
const RESET_BYTES: u64 = 4 << 20;

/// Follows the frames of a connection, both ways.
#[derive(Debug)]
pub(super) struct Peer {
    to: Walk,
    from: Walk,
    /// The requests that have not ended on both sides, oldest first.
    under_way: Vec<UnderWay>,
    last_stream: u32,
    count: Count,
    /// The bytes of requests, and what else lets the peer say something.
    earned: u64,
    idle_left: u64,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    stream: u32,
    is_sent: bool,
    is_answered: bool,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            to: Walk::new(0),
            // A server has no preface.
            from: Walk::new(PREFACE.len()),
            under_way: Vec::new(),
            last_stream: 0,
            count: Count::new(MAX_CONTROL_FRAMES),
            earned: 0,
            idle_left: IDLE_BYTES,
        }
    }

    /// Follows what is sent to it.
    pub(super) fn is_sent(&mut self, bytes: &[u8]) {
        let mut to = std::mem::replace(&mut self.to, Walk::new(0));
        let _nothing_refuses = to.follow(bytes, |frame| {
            self.asks(frame);
            Ok::<(), Flood>(())
        });
        self.to = to;
    }

    /// Follows what it sends.
    pub(super) fn sends(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let mut from = std::mem::replace(&mut self.from, Walk::new(0));
        let followed = from.follow(bytes, |frame| self.answers(frame));
        self.from = from;
        followed
    }

    fn asks(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS if frame.stream > self.last_stream => {
                if self.under_way.is_empty() {
                    self.idle_left = IDLE_BYTES;
                }
                self.last_stream = frame.stream;
                self.earned += FRAMES_AN_ANSWER * BYTES_A_FRAME;
                let stream = frame.stream;
                self.under_way.push(UnderWay { stream, is_sent: false, is_answered: false });
            }
            HEADERS => {}
            // It may say that it took it, and ask how far away we are.
            DATA => self.earned += u64::from(frame.length) + BYTES_A_FRAME,
            RST_STREAM => {
                if self.forget(frame.stream).is_some_and(|request| !request.is_answered) {
                    self.earned += RESET_BYTES;
                    self.idle_left += RESET_BYTES;
                }
                return;
            }
            _ => return,
        }
        if frame.flags & END_STREAM != 0 {
            self.ends(frame.stream, |request| request.is_sent = true);
        }
    }

    fn answers(&mut self, frame: Frame) -> Result<(), Flood> {
        if self.under_way.is_empty() {
            let cost = u64::from(frame.length) + IDLE_FRAME_BYTES;
            self.idle_left = self.idle_left.checked_sub(cost).ok_or(Flood)?;
            return Ok(());
        }
        let is_last = frame.flags & END_STREAM != 0;
        match frame.kind {
            // Small ones are the guest's to read, and bounded by the library until it does.
            DATA if self.is_awaited(frame.stream) => {
                if frame.brings == 0 && !is_last {
                    self.counts()?;
                }
            }
            RST_STREAM => {
                self.forget(frame.stream);
                return self.counts();
            }
            _ => self.counts()?,
        }
        if is_last && matches!(frame.kind, DATA | HEADERS) {
            self.ends(frame.stream, |request| request.is_answered = true);
        }
        Ok(())
    }

    fn counts(&mut self) -> Result<(), Flood> {
        self.count.counts(NOTHING, self.earned)
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.under_way.binary_search_by_key(&stream, |request| request.stream).ok()
    }

    fn is_awaited(&self, stream: u32) -> bool {
        self.find(stream).is_some_and(|at| !self.under_way[at].is_answered)
    }

    fn forget(&mut self, stream: u32) -> Option<UnderWay> {
        self.find(stream).map(|at| self.under_way.remove(at))
    }

    fn ends(&mut self, stream: u32, side: impl FnOnce(&mut UnderWay)) {
        let Some(at) = self.find(stream) else { return };
        let request = &mut self.under_way[at];
        side(request);
        if request.is_sent && request.is_answered {
            self.under_way.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let bytes = u32::try_from(length).expect("short").to_be_bytes();
        let mut frame = bytes[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.resize(9 + length, 0);
        frame
    }

    /// After the beginning, and a request on stream 1.
    fn asked() -> Peer {
        let mut peer = Peer::new();
        peer.is_sent(PREFACE);
        peer.is_sent(&frame(SETTINGS, 0, 0, 18));
        peer.sends(&frame(SETTINGS, 0, 0, 6)).expect("its settings");
        peer.is_sent(&frame(HEADERS, END_STREAM, 1, 40));
        peer
    }

    fn answered() -> Peer {
        let mut peer = asked();
        peer.sends(&frame(HEADERS, 0, 1, 10)).expect("a head");
        peer.sends(&frame(DATA, END_STREAM, 1, 5)).expect("a body");
        peer
    }

    /// How many of these it may send, of at most so many.
    fn taken(peer: &mut Peer, most: usize, frame: &[u8]) -> usize {
        (0..most).take_while(|_| peer.sends(frame).is_ok()).count()
    }

    #[test]
    fn who_was_asked_nothing_may_say_next_to_nothing() {
        for (kind, stream, length, most) in [
            (PING, 0, 8, 127),
            (SETTINGS, 0, 6, 127),
            (WINDOW_UPDATE, 1, 4, 127),
            (HEADERS, 1, 10, 126),
            (DATA, 1, 1_024, 64),
            (77, 0, 0, 128),
            (77, 0, 16_384, 7),
        ] {
            let mut peer = answered();
            let each = frame(kind, 0, stream, length);
            assert_eq!(taken(&mut peer, 1_000, &each), most, "frames of type {kind}");
            // Another request, and it may do so again.
            let mut peer = answered();
            taken(&mut peer, most, &each);
            peer.is_sent(&frame(HEADERS, END_STREAM, 3, 40));
            peer.sends(&frame(HEADERS, END_STREAM, 3, 10)).expect("an answer");
            assert_eq!(taken(&mut peer, 1_000, &each), most, "frames of type {kind}");
        }
    }

    #[test]
    fn who_was_asked_something_may_not_say_much_besides() {
        for (kind, stream, length) in [
            (PING, 0, 8),
            (SETTINGS, 0, 6),
            (WINDOW_UPDATE, 1, 4),
            // Interim answers, a body of nothing, and one that nobody asked for.
            (HEADERS, 1, 10),
            (DATA, 1, 0),
            (DATA, 3, 16_384),
            (RST_STREAM, 3, 4),
            (77, 0, 16_384),
        ] {
            let mut peer = asked();
            let taken = taken(&mut peer, 10_000, &frame(kind, 0, stream, length));
            assert_eq!(taken, 1_000 + 8, "frames of type {kind}");
        }
        let mut peer = asked();
        assert_eq!(taken(&mut peer, 10_000, &frame(DATA, 0, 1, 1)), 10_000, "a body of bytes");
    }

    #[test]
    fn who_gets_much_may_say_so() {
        let mut peer = asked();
        peer.is_sent(&frame(HEADERS, 0, 3, 40));
        for _ in 0..10_000 {
            peer.is_sent(&frame(DATA, 0, 3, 100));
            peer.sends(&frame(WINDOW_UPDATE, 0, 3, 4)).expect("it took something");
        }
        // An answer that is early, and the rest of what it answers.
        peer.sends(&frame(HEADERS, END_STREAM, 1, 10)).expect("an answer");
        peer.sends(&frame(HEADERS, END_STREAM, 3, 10)).expect("an answer");
        for _ in 0..1_000 {
            peer.is_sent(&frame(DATA, 0, 3, 16_384));
            peer.sends(&frame(WINDOW_UPDATE, 0, 3, 4)).expect("it took something");
        }
        peer.is_sent(&frame(DATA, END_STREAM, 3, 0));
        assert_eq!(taken(&mut peer, 1_000, &frame(PING, 0, 0, 8)), 127);
    }

    #[test]
    fn the_rest_of_an_answer_that_was_given_up_may_arrive() {
        let rest = frame(DATA, 0, 1, 16_384);
        for others in [false, true] {
            let mut peer = asked();
            if others {
                peer.is_sent(&frame(HEADERS, END_STREAM, 3, 40));
            }
            peer.is_sent(&frame(RST_STREAM, 0, 1, 4));
            let window = 2 << 20;
            assert_eq!(taken(&mut peer, window / 16_384, &rest), window / 16_384);
            // Giving it up once more, as the library does for each of them, earns nothing.
            let more = (0..10_000).take_while(|_| {
                peer.is_sent(&frame(RST_STREAM, 0, 1, 4));
                peer.sends(&rest).is_ok()
            });
            assert!(more.count() < 10_000);
        }
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_come_and_go() {
        let to = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, 18), frame(HEADERS, 0, 1, 40)];
        let to = [to.concat(), frame(DATA, END_STREAM, 1, 300)].concat();
        let from = [frame(SETTINGS, 0, 0, 6), frame(HEADERS, 0, 1, 10)].concat();
        let from = [from, frame(DATA, END_STREAM, 1, 300)].concat();
        for size in [1, 2, 7, 9, 10, 1_000] {
            let mut peer = Peer::new();
            to.chunks(size).for_each(|bytes| peer.is_sent(bytes));
            assert_eq!(peer.under_way.len(), 1);
            from.chunks(size).for_each(|bytes| peer.sends(bytes).expect("no flood"));
            assert!(peer.under_way.is_empty());
        }
    }
}
