//! Events: publishing them, and handling those of others (`hotdock:events`).
//!
//! What is published leaves with the invocation's transaction, or not at all:
//!
//! ```ignore
//! let placed = NewEvent::of("shop.order.placed").key(&user).json(&order)?;
//! let id = events::publish(&placed)?;
//! ```
//!
//! A handler is a function of a delivery. It is tested natively as any other,
//! and its types say what it reads:
//!
//! ```ignore
//! fn handle(delivery: &Delivery) -> Result<(), Failure> {
//!     match delivery.event_type() {
//!         "shop.order.placed" => placed(&delivery.json()?),
//!         "shop.order.cancelled" => cancelled(&delivery.json()?),
//!         _ => Err(delivery.unexpected()),
//!     }
//! }
//!
//! hotdock_sdk::event_handler!(handle);
//! ```
//!
//! What a handler writes is kept when it returns `Ok`, together with the note
//! that the event is done; else nothing of it is kept.

mod delivery;
mod publish;

pub use self::publish::{Error, publish, publish_all};
pub use crate::bindings::hotdock::events::publisher::{Error as HostError, NewEvent};
pub use crate::bindings::hotdock::events::types::{
    Delivery, Event, Extension, ExtensionValue, Failure,
};

/// Makes a function the service's handler of events: it is called for each event
/// that the manifest subscribes to. To be used once, where the component's other
/// entry points are.
#[macro_export]
macro_rules! event_handler {
    ($handle:path) => {
        const _: () = {
            struct Handler;

            impl $crate::handling::exports::hotdock::events::handler::Guest for Handler {
                fn handle(
                    delivery: $crate::events::Delivery,
                ) -> Result<(), $crate::events::Failure> {
                    $handle(&delivery)
                }
            }

    $crate::handling::export_handling!(Handler with_types_in $crate::handling);
        };
    };
}
