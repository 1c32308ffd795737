//! What a Hotdock service in Rust uses, thin and pleasant.
//!
//! A service is a function from a request to an answer, tested natively as any other:
//!
//! ```ignore
//! fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
//!     let user = request.query().id("user_id")?;
//!     json(&Bucket::open("carts")?.get(&user.to_string())?)
//! }
//!
//! hotdock_sdk::http_handler!(answer);
//! ```
//!
//! In the order a request meets them:
//!
//! - [`http`]: the request, its query and its JSON body; the JSON answer
//! - [`id`]: identifiers as JSON has them, integers or strings
//! - [`kv`]: buckets of the service's own store
//! - [`sql`]: tables in the same store
//! - [`transaction`]: commit now, or give up what was written
//! - [`events`]: publishing events, and handling those of others
//! - [`problem`]: what a client is told when it doesn't work (RFC 9457)
//! - [`testing`]: what the native tests of a service use
//!
//! One invocation is one transaction and the host runs it again after a
//! conflict, so read-modify-write is written as if one were alone. An answer
//! with an error *status* still commits: check first and write last, or call
//! [`transaction::rollback`].

pub mod events;
pub mod http;
pub mod id;
pub mod kv;
pub mod problem;
pub mod sql;
pub mod testing;
pub mod transaction;

#[expect(missing_docs, reason = "generated; the WIT files are the documentation")]
mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../wit/hotdock-events",
            "../../wit/hotdock-sql",
            "../../wit/hotdock-transaction",
            "../../wit/deps/wasi-keyvalue-draft2",
        ],
        inline: "
            package hotdock:sdk;

            world sdk {
                import hotdock:events/publisher@0.1.0;
                import hotdock:sql/sql@0.1.0;
                import hotdock:transaction/transaction@0.1.0;
                import wasi:keyvalue/store@0.2.0-draft2;
            }
        ",
        additional_derives: [PartialEq],
        generate_all,
    });
}

/// For [`http_handler!`](crate::http_handler) only.
#[doc(hidden)]
pub mod whole_requests {
    wit_bindgen::generate!({
        path: "../../wit/hotdock-http",
        world: "service",
        pub_export_macro: true,
        export_macro_name: "export_whole_requests",
    });
}

/// For [`event_handler!`] only.
#[doc(hidden)]
pub mod handling {
    wit_bindgen::generate!({
        path: "../../wit/hotdock-events",
        world: "handling",
        with: { "hotdock:events/types@0.1.0": crate::bindings::hotdock::events::types },
        pub_export_macro: true,
        export_macro_name: "export_handling",
    });
}

/// For [`async_event_handler!`] only.
#[doc(hidden)]
pub mod async_handling {
    wit_bindgen::generate!({
        path: "../../wit/hotdock-events",
        world: "async-handling",
        with: { "hotdock:events/types@0.1.0": crate::bindings::hotdock::events::types },
        pub_export_macro: true,
        export_macro_name: "export_async_handling",
    });
}
