//! Users' carts in the service's store.

use hotdock_sdk::kv::{self, Bucket};
use shop::Id;

use crate::cart::Cart;

/// One key per user, so that different users' requests never conflict. A user that is `None`
/// is the anonymous one.
pub(crate) struct Carts(Bucket);

impl Carts {
    pub(crate) fn open() -> Result<Self, kv::Error> {
        Bucket::open("carts").map(Self)
    }

    pub(crate) fn load(&self, user: Option<&Id>) -> Result<Cart, kv::Error> {
        Ok(self.0.get_json(&key(user))?.unwrap_or_default())
    }

    pub(crate) fn save(&self, user: Option<&Id>, cart: &Cart) -> Result<(), kv::Error> {
        if cart.is_empty() { self.delete(user) } else { self.0.set_json(&key(user), cart) }
    }

    pub(crate) fn delete(&self, user: Option<&Id>) -> Result<(), kv::Error> {
        self.0.delete(&key(user))
    }
}

/// The key under which a user's cart is stored. The prefix keeps a user named
/// "anonymous" apart from the anonymous one.
fn key(user: Option<&Id>) -> String {
    user.map_or_else(|| "anonymous".to_owned(), |user| format!("user/{user}"))
}

#[cfg(test)]
mod tests {
    use shop::Id;

    use super::key;

    #[test]
    fn users_have_keys_of_their_own() {
        assert_eq!(key(Some(&Id::Integer(7))), key(Some(&Id::from("7"))));
        assert_ne!(key(Some(&Id::from("anonymous"))), key(None));
        assert_ne!(key(Some(&Id::from("user/7"))), key(Some(&Id::from("7"))));
    }
}
