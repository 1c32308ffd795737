//! Calls between services: the functions of interfaces that others export and import.
//!
//! Both sides share a WIT package, which has the interface and two worlds: `service` exports
//! it, `imports` imports it (`wit/shop-cart` is one). The service that has the functions says
//! which they are by [`export!`](crate::export), the one that calls them by
//! [`import!`](crate::import); its manifest grants it: `[capabilities] calls = ["cart"]`.
//!
//! ```
//! use hotdock_sdk::calls::Unavailable;
//! use hotdock_sdk::http::{Request, Response, json};
//! use hotdock_sdk::problem::Problem;
//!
//! hotdock_sdk::import! {
//!     mod carts = shop::cart::carts in "../../wit/shop-cart" {
//!         fn get(user: Option<&Id>) -> Result<Vec<Item>, Error>;
//!     }
//! }
//!
//! hotdock_sdk::http_handler! {
//!     "/gifts/{user}" => { GET: gifts },
//! }
//!
//! fn gifts(_: &Request, user: String) -> Result<Response, Problem> {
//!     let items = carts::get(Some(&carts::Id::Text(user)))?;
//!     json(&(items.len() / 10))
//! }
//!
//! impl From<carts::Error> for Problem {
//!     fn from(error: carts::Error) -> Self {
//!         match error {
//!             carts::Error::Invalid(reason) => Problem::malformed(reason),
//!             carts::Error::Empty => Problem::conflict("the cart is empty"),
//!             carts::Error::Unavailable(reason) => Unavailable(reason).into(),
//!         }
//!     }
//! }
//! ```
//!
//! # Where a call fails
//!
//! A callee may trap, take too long, have too much to do, or not be deployed. Then the caller
//! gets an error of the function's own, if it has one that can hold a text: a function returns
//! `result<T, string>`, or `result<T, error>` with a variant `error` that has a case
//! `unavailable(string)`. Where it has neither, the caller ends. [`Unavailable`] is that
//! text as an error, which `?` makes a [`Problem`] (503) or an event's [`Failure`] (again later).
//!
//! # Call first, then write
//!
//! Once an invocation has written something, the services that it calls only read. While it holds
//! its store's writer, from its first SQL write on, and after its answer, it calls nobody.

#[cfg(not(target_family = "wasm"))]
mod double;
mod export;
mod import;

#[cfg(not(target_family = "wasm"))]
pub use self::double::{Double, of, stand_in};
use crate::events::Failure;
use crate::problem::Problem;
use crate::{events, kv, sql};

/// For the macros only.
#[doc(hidden)]
pub use ::wit_bindgen;

/// A service could not be asked, or could not do what it was asked for: what a call's error
/// says where it is a text or the case `unavailable(string)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call failed: {0}")]
pub struct Unavailable(pub String);

/// 503; the reason goes to the log.
impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::unavailable_callee(&error)
    }
}

/// The event is delivered again.
impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        Self::Retry(error.to_string())
    }
}

/// So that `?` makes them the error of a function that returns `result<T, string>`.
macro_rules! texts {
    ($($error:ty),*) => { $(
        impl From<$error> for String {
            fn from(error: $error) -> Self {
                error.to_string()
            }
        }
    )* };
}

texts!(kv::Error, sql::Error, events::Error, Unavailable);

#[cfg(test)]
mod tests {
    use super::Unavailable;
    use crate::events::Failure;
    use crate::problem::Problem;

    #[test]
    fn a_failed_call_is_a_503_whose_reason_stays_in_the_log() {
        let response = Problem::from(Unavailable("cart v3 trapped".to_owned())).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        let body = String::from_utf8_lossy(response.body());
        assert!(!body.contains("cart"), "{body}");
    }

    #[test]
    fn an_event_whose_handler_could_not_call_is_delivered_again() {
        let failure = Failure::from(Unavailable("cart v3 trapped".to_owned()));
        assert_eq!(failure, Failure::Retry("a call failed: cart v3 trapped".to_owned()));
    }
}
