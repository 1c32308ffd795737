//! Answers as a service with the SDK does (`hotdock:http`, `wasi:http` 0.2).
//!
//! ```text
//! GET  <any>    hello
//! POST <any>    the body
//! PUT  <any>    what it sees of the request, as JSON
//! DELETE <any>  traps
//! PATCH <any>   103, which is no answer
//! ```

mod answer;

hotdock_sdk::http_handler!(answer::answer);
