//! What a request keeps between two choices of its version.

/// A request's place in the traffic. A request is asked for its version before
/// and after it waits for its turn, and chance must not answer differently.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    token: Option<u64>,
    is_new: bool,
    point: Option<u8>,
}

impl Ticket {
    /// The ticket of a client that brings this token; of a new one without.
    #[must_use]
    pub fn new(token: Option<u64>) -> Self {
        Self { token, is_new: false, point: None }
    }

    /// A token that the client did not bring and that its version hangs on: it
    /// has to be told.
    #[must_use]
    pub fn new_token(&self) -> Option<u64> {
        self.token.filter(|_| self.is_new)
    }

    /// The client's token; made up at first use where it brought none.
    pub(super) fn token(&mut self) -> u64 {
        match self.token {
            Some(token) => token,
            None => {
                self.is_new = true;
                *self.token.insert(fastrand::u64(..))
            }
        }
    }

    /// A place among a hundred by chance.
    pub(super) fn point(&mut self) -> u8 {
        *self.point.get_or_insert_with(|| fastrand::u8(..100))
    }
}
