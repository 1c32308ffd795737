//! Events: publishing them, and handling those of others (`hotdock:events`).
//!
//! What is published leaves with the invocation's transaction, or not at all:
//!
//! ```no_run
//! use hotdock_sdk::events::{self, NewEvent};
//!
//! # let (user, order) = (7, "tea");
//! let placed = NewEvent::of("shop.order.placed").key(user).json(&order)?;
//! let id = events::publish(&placed)?;
//! # Ok::<_, events::Error>(())
//! ```
//!
//! A handler is a function of a delivery and its event's data. It is tested natively as
//! any other, and its types say what it reads:
//!
//! ```
//! use hotdock_sdk::events::{Delivery, Failure};
//! use hotdock_sdk::kv::Bucket;
//!
//! #[derive(serde::Deserialize)]
//! struct Placed {
//!     user_id: String,
//! }
//!
//! hotdock_sdk::event_handler! {
//!     "shop.order.placed" => placed,
//!     "shop.order.cancelled" => cancelled,
//! }
//!
//! fn placed(_: &Delivery, order: &Placed) -> Result<(), Failure> {
//!     Ok(Bucket::open("orders")?.set(&order.user_id, b"placed")?)
//! }
//!
//! fn cancelled(_: &Delivery, order: &Placed) -> Result<(), Failure> {
//!     Ok(Bucket::open("orders")?.delete(&order.user_id)?)
//! }
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

/// Makes functions the service's handlers of events, each of one type: it is called with
/// the delivery and with the event's data, read as JSON into what the function looks at. Data
/// of another shape and events of other types are rejected.
///
/// With one function alone that is called for each event that the manifest subscribes to.
///
/// Elsewhere than in WebAssembly, where tests run, nothing is exported. To be used once.
#[macro_export]
macro_rules! event_handler {
    ($($event_type:literal => $handle:path),+ $(,)?) => {
        const _: () = {
            fn handle(delivery: &$crate::events::Delivery) -> Result<(), $crate::events::Failure> {
                match delivery.event_type() {
                    $($event_type => $handle(delivery, &delivery.json()?),)+
                    _ => Err(delivery.unexpected()),
                }
            }

            $crate::event_handler!(handle);
        };
    };
    ($handle:path) => {
        #[cfg(target_family = "wasm")]
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

        // So that it is known to be used where tests run.
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::events::Delivery) -> Result<(), $crate::events::Failure> = $handle;
    };
}

/// The same of asynchronous functions, which own delivery and data: for components that
/// await (WASI 0.3).
#[macro_export]
macro_rules! async_event_handler {
    ($($event_type:literal => $handle:path),+ $(,)?) => {
        const _: () = {
            async fn handle(
                delivery: $crate::events::Delivery,
            ) -> Result<(), $crate::events::Failure> {
                match delivery.event_type() {
                    $($event_type => {
                        let data = delivery.json()?;
                        $handle(delivery, data).await
                    })+
                    _ => Err(delivery.unexpected()),
                }
            }

            $crate::async_event_handler!(handle);
        };
    };
    ($handle:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Handler;

            impl $crate::async_handling::exports::hotdock::events::async_handler::Guest
                for Handler
            {
                async fn handle(
                    delivery: $crate::events::Delivery,
                ) -> Result<(), $crate::events::Failure> {
                    $handle(delivery).await
                }
            }

            $crate::async_handling::export_async_handling!(
                Handler with_types_in $crate::async_handling
            );
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::events::Delivery) = |delivery| drop($handle(delivery));
    };
}
