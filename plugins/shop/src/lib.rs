//! What the shop's services have in common: how they name users and products.

mod id;

pub use self::id::{Id, MAX_ID_BYTES};
