//! Events that came.

use serde::de::DeserializeOwned;

use super::{Delivery, Error, Event, Failure};
use crate::{kv, sql};

impl Delivery {
    /// What happened: the event's type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event.type_
    }

    /// The event's data, read as JSON; none is read as `null`, which `()` and `Option` take.
    ///
    /// # Errors
    /// The event is rejected if it has no data of that shape: it would have none
    /// the next time either.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.event.json().map_err(|error| {
            Failure::Reject(format!(
                "the data of this {} cannot be read: {error}",
                self.event_type()
            ))
        })
    }

    /// The event is rejected: the subscription's pattern is wider than what the
    /// service handles.
    #[must_use]
    pub fn unexpected(&self) -> Failure {
        Failure::Reject(format!("the service does not handle events of type {}", self.event_type()))
    }
}

impl Event {
    /// The data, read as JSON; none is read as `null`.
    ///
    /// # Errors
    /// It is not JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        let data = self.data.as_deref().filter(|data| !data.is_empty());
        serde_json::from_slice(data.unwrap_or(b"null"))
    }
}

/// What fails in the host or the store may go well the next time.
macro_rules! retried {
    ($($error:ty),*) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Retry(error.to_string())
            }
        }
    )* };
}

retried!(kv::Error, sql::Error, Error);

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::Failure;
    use crate::testing::delivery;

    const PLACED: &str = "shop.order.placed";

    #[derive(Debug, Deserialize, PartialEq)]
    struct Placed {
        order_id: i64,
    }

    #[test]
    fn data_is_read_by_its_type() {
        let placed = delivery(PLACED, r#"{"order_id":7,"more":[]}"#).json();
        assert_eq!(placed, Ok(Placed { order_id: 7 }));
    }

    #[test]
    fn data_that_cannot_be_read_is_rejected_with_its_reason() {
        for data in ["", "{}", "[]"] {
            let read: Result<Placed, Failure> = delivery(PLACED, data).json();
            let Err(Failure::Reject(reason)) = read else { panic!("{data} was read") };
            assert!(reason.starts_with("the data of this shop.order.placed cannot"), "{reason}");
        }
    }

    #[test]
    fn no_data_is_null() {
        assert_eq!(delivery(PLACED, "").json(), Ok(()));
        assert_eq!(delivery(PLACED, "").json::<Option<Placed>>(), Ok(None));
    }

    #[test]
    fn what_nobody_handles_is_rejected_by_its_type() {
        let expected = "the service does not handle events of type shop.order.placed";
        assert_eq!(delivery(PLACED, "").unexpected(), Failure::Reject(expected.to_owned()));
    }
}
