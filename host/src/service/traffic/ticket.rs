//! What a request keeps between two choices of its version.

use std::sync::Arc;

use http::request::Parts;

use crate::runtime::calls::Place;

/// A request's place in the traffic. A request is asked for its version before
/// and after it waits for its turn, and chance must not answer differently.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    token: Option<u64>,
    is_new: bool,
    point: Option<u8>,
    is_by_name: bool,
}

impl Ticket {
    /// The ticket of a client that brings this token; of a new one without.
    #[must_use]
    pub fn new(token: Option<u64>) -> Self {
        Self { token, ..Self::default() }
    }

    /// That of a request that goes to the service by its name, whatever host its routes are for,
    /// from an invocation that has this place: of a client's request it has that one's, unless
    /// the token comes with it.
    #[must_use]
    pub(crate) fn by_name(token: Option<u64>, place: &Place) -> Self {
        let (of_client, point) = match place {
            Place::Request { token, point, .. } => (*token, Some(*point)),
            Place::Key(_) => (None, None),
        };
        Self { token: token.or(of_client), is_new: false, point, is_by_name: true }
    }

    /// Whether it is one.
    pub(super) fn is_by_name(&self) -> bool {
        self.is_by_name
    }

    /// A token that the client did not bring and that its version hangs on: it
    /// has to be told.
    #[must_use]
    pub fn new_token(&self) -> Option<u64> {
        self.token.filter(|_| self.is_new)
    }

    /// The place of the request with this head, for those that it calls.
    pub(crate) fn place(&self, head: &Arc<Parts>) -> Place {
        let point = self.point.unwrap_or_else(|| fastrand::u8(..100));
        Place::Request { head: Arc::clone(head), token: self.token, point }
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
