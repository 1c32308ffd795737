//! The greeter without `hotdock:http/handler`: called as other hosts call it.

#[path = "../../greeter/src/answer.rs"]
mod answer;

hotdock_sdk::wasi_http_handler!(answer::answer);
