//! What a Hotdock service in Rust uses, thin and pleasant.
//!
//! A service is functions from a request to an answer, tested natively as any other:
//!
//! ```
//! use hotdock_sdk::http::{Request, Response, json};
//! use hotdock_sdk::kv::Bucket;
//! use hotdock_sdk::problem::Problem;
//!
//! hotdock_sdk::http_handler! {
//!     "/notes/{name}" => { GET: read, PUT: write },
//! }
//!
//! fn read(_: &Request, name: String) -> Result<Response, Problem> {
//!     let note: Option<String> = Bucket::open("notes")?.get_json(&name)?;
//!     json(&note.ok_or_else(|| Problem::not_found("there is no such note"))?)
//! }
//!
//! fn write(request: &Request, name: String) -> Result<Response, Problem> {
//!     let note: String = request.json()?;
//!     Bucket::open("notes")?.set_json(&name, &note)?;
//!     json(&note)
//! }
//! ```
//!
//! In the order a request meets them:
//!
//! - [`http`]: routes to functions; the request, its query and its JSON body; the JSON answer
//! - [`kv`]: buckets of the service's own store
//! - [`sql`]: tables in the same store
//! - [`transaction`]: commit now, or give up what was written
//! - [`events`]: publishing events, and handling those of others
//! - [`calls`]: functions for other services, and theirs
//! - [`problem`]: what a client is told when it doesn't work (RFC 9457)
//! - [`testing`]: what the native tests of a service use
//!
//! One invocation is one transaction and the host runs it again after a
//! conflict, so read-modify-write is written as if one were alone. An answer
//! with an error *status* still commits: check first and write last, or call
//! [`transaction::rollback`].

pub mod calls;
pub mod events;
pub mod http;
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

/// The pages' examples compile and do what they say.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/rust.md")]
    struct Rust;
}
