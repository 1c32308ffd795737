//! Guests that let the host hold or copy for them: what it holds is theirs, and so is the
//! time that it takes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::guest::{exporting_handle, forever, handle, handling, nested_waits, with};
use super::{Hostile, SPINS};
use crate::harness::{Host, component};

const TOO_MUCH: &str = "the service used more memory of the host than it may";
const REACHED: &str =
    "it reached its limit of 67108864 bytes of memory of the host ([limits] host-memory)";

/// What a host may hold at once for one invocation: its limit, as much of the guest's
/// memory, what a tick and one call add, and what the allocator keeps.
const ONE_INVOCATION: u64 = 320 << 20;

/// Long enough for what they do, in a host that is not optimized, either.
const LONG: &str = "[limits]\ncpu = \"30s\"\ndeadline = \"1m\"\n";

/// A bucket at 4 of the memory, and a key `k` in it of so many bytes of memory.
fn with_key(bytes: u32, then: &str) -> Vec<u8> {
    let pages = (bytes >> 16) + 8;
    with(&format!(
        "(data (i32.const 64) \"bk\") {}",
        handle(&format!(
            "(drop (memory.grow (i32.const {pages})))
            (global.set $next (i32.const {}))
            (call $bucket-open (i32.const 64) (i32.const 1) (i32.const 0))
            (call $bucket-set (i32.load (i32.const 4)) (i32.const 65) (i32.const 1)
                (i32.const 0) (i32.const {bytes}) (i32.const 16))
            {then}",
            bytes + (4 << 16),
        ))
    ))
}

/// Asks for the same key so often, at once.
fn get_many(times: u32) -> String {
    format!(
        "(local.set $x (i32.const 1024))
        (loop $more
            (i32.store (local.get $x) (i32.const 65))
            (i32.store (i32.add (local.get $x) (i32.const 4)) (i32.const 1))
            (local.set $x (i32.add (local.get $x) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $x) (i32.const {}))))
        (call $get-many (i32.load (i32.const 4)) (i32.const 1024) (i32.const {times})
            (i32.const 32))
        (call $answer (local.get $out))",
        1024 + 8 * times
    )
}

/// Responses with as much in their bodies as these take, none of which is sent.
fn unsent_bodies(again: &str) -> String {
    format!(
        "(loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (local.set $x (call $response (call $fields)))
        (call $response-body (local.get $x) (i32.const 0))
        (call $body-write (i32.load (i32.const 4)) (i32.const 8))
        (local.set $x (i32.load (i32.const 12)))
        (block $full (loop $more
            (call $check-write (local.get $x) (i32.const 16))
            (br_if $full (i64.eqz (i64.load (i32.const 24))))
            (call $write (local.get $x) (i32.const 0) (i32.const 262144) (i32.const 16))
            (br $more)))
        {again})"
    )
}

#[tokio::test]
async fn what_the_host_holds_for_a_guest_ends_at_its_limit() {
    let headers = forever(
        "(local.set $x (call $fields))
        (call $fields-append (local.get $x) (i32.const 64) (i32.const 1)
            (i32.const 1024) (i32.const 60000) (i32.const 65520))",
    );
    let headers = format!(
        "(data (i32.const 64) \"a\") {}",
        handle(&format!(
            "(memory.fill (i32.const 1024) (i32.const 97) (i32.const 60000)) {headers}"
        ))
    );
    let methods = forever(
        "(drop (call $set-method (call $outgoing-request (call $fields)) (i32.const 9)
            (i32.const 0) (i32.const 4000000)))",
    );
    let methods = format!(
        "(drop (memory.grow (i32.const 64)))
        (memory.fill (i32.const 0) (i32.const 97) (i32.const 4000000)) {methods}"
    );
    // Each its own key, so that none replaces another.
    let writes = forever(
        "(i32.store8 (i32.const 80) (i32.and (local.get $i) (i32.const 0x3f)))
        (i32.store8 (i32.const 81) (i32.shr_u (local.get $i) (i32.const 6)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (call $bucket-set (i32.load (i32.const 4)) (i32.const 80) (i32.const 2)
            (i32.const 0) (i32.const 100000) (i32.const 16))",
    );
    let less = format!("{LONG}host-memory = \"20MiB\"\n");
    let more = format!("{LONG}host-memory = \"100MiB\"\n");
    let host = Hostile::start(&[
        ("bodies", LONG, handling(&unsent_bodies("(br $again)"))),
        ("headers", LONG, with(&headers)),
        ("methods", LONG, handling(&methods)),
        ("values", LONG, with_key(1_000_000, &get_many(5_000))),
        ("writes", &less, with_key(1, &writes)),
        ("more", &more, handling(&unsent_bodies("(br $again)"))),
    ])
    .await;
    for name in ["bodies", "headers", "methods", "values"] {
        let before = host.host.begin_peak();
        host.fails(name, 502, "over-limit", TOO_MUCH, REACHED).await;
        let peak = host.host.peak_bytes();
        assert!(peak < before + ONE_INVOCATION, "{name}: {before} {peak}");
    }
    let reached = "it reached its limit of 20971520 bytes of memory of the host";
    host.fails("writes", 502, "over-limit", TOO_MUCH, reached).await;
    let reached = "it reached its limit of 104857600 bytes of memory of the host";
    host.fails("more", 502, "over-limit", TOO_MUCH, reached).await;
    let counted = "hotdock_limits_reached_total{service=\"bodies\",limit=\"host-memory\"} 1";
    let metrics = host.host.metrics().await;
    assert!(metrics.contains(counted), "{metrics}");
    host.host.until_metric("hotdock_guest_host_memory_bytes", 0).await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_the_host_holds_for_all_guests_ends_at_its_limit() {
    // Some 40 MiB each, and then it waits.
    let hold = format!(
        "{} (call $block (call $timer (i64.const 100000000000)))",
        unsent_bodies("(br_if $again (i32.lt_u (local.get $i) (i32.const 32)))")
    );
    let (neighbour, _) = component("hello");
    let host = Host::builder()
        .settings("host-memory = \"100MiB\"\n")
        .file("hello.wasm", neighbour)
        .file("hold.wasm", handling(&hold))
        .file("hold.toml", "[limits]\ncpu = \"30s\"\ndeadline = \"20s\"\n")
        .start()
        .await;
    let host = Hostile::of(host).await;
    let before = host.host.begin_peak();
    host.has_room_for_some("hold", "it holds no more than 104857600 for all together").await;
    let peak = host.host.peak_bytes();
    assert!(peak < before + ONE_INVOCATION, "{before} {peak}");
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_is_given_back_is_not_counted() {
    // More than its limit, one after the other.
    let free = "(loop $more
            (local.set $x (call $response (call $fields)))
            (call $response-body (local.get $x) (i32.const 0))
            (call $body-write (i32.load (i32.const 4)) (i32.const 8))
            (call $write (i32.load (i32.const 12)) (i32.const 0) (i32.const 65536) (i32.const 16))
            (call $drop-output (i32.load (i32.const 12)))
            (call $drop-body (i32.load (i32.const 4)))
            (call $drop-response (local.get $x))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))
        (call $answer (local.get $out))";
    // So much of a body that it is counted as often as it is buffered, if it were.
    let stream = "(local.set $x (call $begin (local.get $out)))
        (loop $more
            (call $write-and-flush (local.get $x) (i32.const 0) (i32.const 4096) (i32.const 16))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))
        (call $drop-output (local.get $x))
        (call $finish (i32.load (i32.const 4)) (i32.const 0) (i32.const 0) (i32.const 16))";
    let limits = &format!("{LONG}host-memory = \"2MiB\"\n");
    let reused = format!("{limits}[instances]\nreuse = 1000\n");
    let host = Hostile::start(&[
        ("free", limits, handling(free)),
        ("stream", limits, handling(stream)),
        ("stream-again", &reused, handling(stream)),
    ])
    .await;
    host.answers("free").await;
    for name in ["stream", "stream-again", "stream-again", "stream-again"] {
        assert_eq!(host.answers(name).await.body.len(), 4_096_000, "{name}");
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_streams_through_a_guest_is_not_held() {
    let limits = "[limits]\nrequest-body = \"100MiB\"\nreplay-body = \"64KiB\"\n\
        host-memory = \"4MiB\"\ncpu = \"30s\"\ndeadline = \"1m\"\n[instances]\nreuse = 100\n";
    let host =
        Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await;
    let body = Bytes::from(vec![7; 16 << 20]);
    for path in ["/probe/echo", "/probe3/echo", "/probe/echo", "/probe3/echo"] {
        let reply = host.post(path, body.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, body.len()), "{path}");
    }
}

#[tokio::test]
async fn a_call_that_takes_long_is_the_guests_time_and_no_neighbours() {
    let much = format!("{SPINS}host-memory = \"2GiB\"\nmemory = \"1GiB\"\n");
    let deletes = "(local.set $x (i32.const 0x20000))
        (loop $more
            (i32.store (local.get $x) (i32.const 65))
            (i32.store (i32.add (local.get $x) (i32.const 4)) (i32.const 1))
            (local.set $x (i32.add (local.get $x) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $x) (i32.const 0xe0000))))
        (call $delete-many (i32.load (i32.const 4)) (i32.const 0x20000) (i32.const 0x18000)
            (i32.const 32))
        (br $again)";
    let deletes = format!("(loop $again {deletes})");
    let host = Hostile::start(&[
        ("values", &much, with_key(1_000_000, &forever(&get_many(500)))),
        ("deletes", &much, with_key(0xe0000, &deletes)),
    ])
    .await;
    let used_up = "the service used its CPU time of 200ms up";
    for name in ["values", "deletes"] {
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let (client, url) = (host.host.client.clone(), host.host.url(&format!("/{name}/")));
                tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
            })
            .collect();
        while !asked.iter().all(tokio::task::JoinHandle::is_finished) {
            let begun = Instant::now();
            host.neighbour_answers().await;
            assert!(begun.elapsed() < Duration::from_secs(2), "{name}: {:?}", begun.elapsed());
        }
        for asked in asked {
            let reply = asked.await.expect("no panic").expect("an answer");
            assert_eq!(reply.problem(504, "out-of-cpu"), used_up, "{name}");
        }
    }
    host.ends_as_it_began_but_for(128 << 20).await;
}

#[tokio::test]
async fn stacks_of_one_service_are_not_taken_from_others() {
    let (neighbour, _) = component("hello3");
    let more = format!(
        "(component
            (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance))
            (component $empty) {} {})",
        "(instance (instantiate $empty))".repeat(64),
        exporting_handle()
    );
    let manifest = "[limits]\nconcurrency = 300\nqueue = 1000\ndeadline = \"8s\"\ncpu = \"5s\"\n";
    let host = Hostile::start(&[
        ("nested", manifest, nested_waits(60)),
        ("hello3", "", neighbour),
        ("more", "", wat::parse_str(more).expect("a component")),
    ])
    .await;
    host.is_refused("more", "it has 65 component instances, and an asynchronous component").await;
    let asked: Vec<_> = (0..300)
        .map(|_| {
            let (client, url) = (host.host.client.clone(), host.host.url("/nested"));
            tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
        })
        .collect();
    while !asked.iter().all(tokio::task::JoinHandle::is_finished) {
        let reply = host.host.get("/hello3").await;
        assert_eq!(reply.status, 200, "{reply:?}\n{}", host.host.log());
    }
    let mut refused = 0;
    for asked in asked {
        let reply = asked.await.expect("no panic").expect("an answer");
        match reply.status.as_u16() {
            503 => refused += 1,
            status => assert_eq!(status, 504, "{reply:?}"),
        }
    }
    assert!(refused > 0);
    host.until_logged("nested", "are kept for others").await;
    host.ends_as_it_began_but_for(512 << 20).await;
}

#[tokio::test]
async fn one_that_takes_whole_bodies_takes_none_that_the_host_may_not_hold() {
    let (guest, _) = component("greeter");
    let large = "[limits]\nrequest-body = \"3MiB\"\nhost-memory = \"2MiB\"\n";
    let host = Hostile::start(&[("greeter", large, guest)]).await;
    host.is_refused("greeter", "larger than `[limits] host-memory`").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn what_it_holds_for_a_guest_of_0_3_ends_at_its_limit() {
    let (guest, _) = component("hostile3");
    let host = Hostile::start(&[("hostile3", LONG, guest)]).await;
    for path in ["held-headers", "held-methods"] {
        let before = host.host.begin_peak();
        host.fails_at("hostile3", path, 502, "over-limit", TOO_MUCH, REACHED).await;
        let peak = host.host.peak_bytes();
        assert!(peak < before + ONE_INVOCATION, "{path}: {before} {peak}");
    }
    host.ends_as_it_began().await;
}
