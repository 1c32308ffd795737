//! Guests that compute for ever, wherever they get the chance.

use super::guest::{HANDLE, forever, handle, handling, with};
use super::{Hostile, SHORT};

/// What a client is told.
const USED_UP: &str = "the service used its CPU time of 200ms up";

/// What is told of a service that cannot be instantiated.
const NOT_READY: &str = "it was not ready within 10s";

#[tokio::test]
async fn a_handler_that_computes_for_ever_is_stopped() {
    let recursion = "(func $down (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (call $down (i32.sub (local.get 0) (i32.const 1)))
                           (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 1))))";
    let fill = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 262144))";
    let call_host = "(call $drop-fields (call $fields))";
    let host = Hostile::start(&[
        ("spin", SHORT, handling(&forever(""))),
        ("fill", SHORT, handling(&forever(fill))),
        ("recurse", SHORT, with(&format!("{recursion}{}", handle("(drop (call $down (i32.const 60)))")))),
        ("call-host", SHORT, handling(&forever(call_host))),
        ("ready-poll", SHORT, handling(&forever("(call $block (call $timer (i64.const 0)))"))),
    ])
    .await;
    for name in ["spin", "fill", "recurse", "call-host"] {
        host.fails(name, 504, "out-of-cpu", USED_UP, USED_UP).await;
    }
    host.is_as_before().await;
}
