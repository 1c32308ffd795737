//! Guests that want all the memory, all the tables, or all the stack.

use super::guest::{bare, beside_another, forever, handle, handling, with};
use super::{Hostile, SPINS};
use crate::harness::{Host, component};

const OUT_OF_MEMORY: &str = "the service ran out of memory";
const MEMORY_REACHED: &str = "it reached its limit of 67108864 bytes of memory ([limits] memory)";
const TABLES_REACHED: &str =
    "it reached its limit of 100000 table elements ([limits] table-elements)";

/// A memory that is grown 1 MiB at a time until that fails.
const GROW: &str = "(loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";

/// A component with a memory of its own kind, which does nothing else.
fn with_memory(memory: &str) -> Vec<u8> {
    bare(&format!("{memory}\n{}", handle("(call $answer (local.get $out))")))
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let touch = "(memory.fill (i32.const 65536) (i32.const 7)
        (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536)))";
    let host = Hostile::start(&[
        ("grow", "", handling(&format!("{GROW} unreachable"))),
        ("content", "", handling(&format!("{GROW} (call $answer (local.get $out))"))),
        ("touch", "", handling(&format!("{GROW} {touch} (call $answer (local.get $out))"))),
        ("fill", SPINS, handling(&format!("{GROW} {}", forever(touch)))),
        ("own-limit", "[limits]\nmemory = \"1MiB\"\n", handling(&format!("{GROW} unreachable"))),
        (
            "many",
            "",
            with_memory(&format!("(memory (export \"memory\") 160) {}", "(memory 160)".repeat(5))),
        ),
    ])
    .await;
    host.fails("grow", 502, "out-of-memory", OUT_OF_MEMORY, MEMORY_REACHED).await;
    host.answers("content").await;
    for _ in 0..20 {
        host.answers("touch").await;
    }
    let used_up = "the service used its CPU time of 200ms up";
    host.fails("fill", 504, "out-of-cpu", used_up, used_up).await;
    let own = "it reached its limit of 1048576 bytes of memory ([limits] memory)";
    host.fails("own-limit", 502, "out-of-memory", OUT_OF_MEMORY, own).await;
    host.answers("many").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_component_that_declares_more_memory_than_it_may_have_is_refused() {
    let host = Hostile::start(&[
        ("declared", "", with_memory("(memory (export \"memory\") 1025)")),
        ("all", "", with_memory("(memory (export \"memory\") 65536)")),
        (
            "together",
            "",
            with_memory(&format!("(memory (export \"memory\") 1) {}", "(memory 256)".repeat(4))),
        ),
        (
            "nine",
            "",
            with_memory(&format!("(memory (export \"memory\") 1) {}", "(memory 0)".repeat(8))),
        ),
        ("wide", "", with_memory("(memory (export \"memory\") 1) (memory i64 0x1000000000000)")),
    ])
    .await;
    for name in ["declared", "all", "together"] {
        host.is_refused(name, MEMORY_REACHED).await;
    }
    host.is_refused("nine", "memories count of 9").await;
    host.is_refused("wide", "memory").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn tables_end_at_their_limit_all_together() {
    let grow = |table: &str| {
        format!(
            "(loop $more (br_if $more
                (i32.ne (table.grow {table} (ref.null func) (i32.const 1000)) (i32.const -1))))"
        )
    };
    let two = format!("{} {} unreachable", grow("$a"), grow("$b"));
    let items = |body: &str| {
        with(&format!("(table $a 1000 funcref) (table $b 1000 funcref) {}", handle(body)))
    };
    let huge = "(drop (table.grow $a (ref.null func) (i32.const -2))) unreachable";
    let more = "[limits]\ntable-elements = 200_000\n";
    let some = "(drop (table.grow $a (ref.null func) (i32.const 150000)))
        (table.fill $a (i32.const 0) (ref.func $handle) (i32.const 150000))
        (call $answer (local.get $out))";
    let some = format!("(elem declare func $handle) {}", handle(some));
    let some = with(&format!("(table $a 1000 funcref) {some}"));
    let host = Hostile::start(&[
        ("grow", "", items(&two)),
        ("huge", "", items(huge)),
        ("enough", more, some),
        ("declared", "", with(&format!("(table 100001 funcref) {}", handle("")))),
        ("declared-huge", "", with(&format!("(table 0xffffffff funcref) {}", handle("")))),
        ("together", "", with(&format!("{} {}", "(table 2000 funcref)".repeat(60), handle("")))),
        ("many", "", with(&format!("{} {}", "(table 0 funcref)".repeat(70), handle("")))),
    ])
    .await;
    let detail = "the service used more table elements than it may";
    host.fails("grow", 502, "over-limit", detail, TABLES_REACHED).await;
    host.fails("huge", 502, "over-limit", detail, TABLES_REACHED).await;
    host.answers("enough").await;
    for name in ["declared", "together"] {
        host.is_refused(name, TABLES_REACHED).await;
    }
    host.is_refused("declared-huge", "table").await;
    host.is_refused("many", "tables count of 70").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn the_stack_ends_before_the_hosts_does() {
    let deep = format!("(func $deep (call $deep)) {}", handle("(call $deep)"));
    // Kept alive across the call, so that each frame holds all of them.
    let locals: String = (0..2000).map(|i| format!("(local $l{i} i64)")).collect();
    let set: String =
        (0..2000).map(|i| format!("(local.set $l{i} (i64.load (i32.const {})))", 8 * i)).collect();
    let used: String =
        (0..2000).map(|i| format!("(i64.store (i32.const {}) (local.get $l{i}))", 8 * i)).collect();
    let wide =
        format!("(func $wide {locals} {set} (call $wide) {used}) {}", handle("(call $wide)"));
    let indirect = format!(
        "(type $t (func)) (table $table 1 funcref) (elem (table $table) (i32.const 0) func $again)
        (func $again (type $t) (call_indirect $table (type $t) (i32.const 0)))
        (start $begin-deep) (func $begin-deep) {}",
        handle("(call $again)")
    );
    let start = format!("(func $deep (call $deep)) (start $deep) {}", handle(""));
    let host = Hostile::start(&[
        ("deep", "", with(&deep)),
        ("wide", "", with(&wide)),
        ("indirect", "", with(&indirect)),
        ("start", "", with(&start)),
    ])
    .await;
    for name in ["deep", "wide", "indirect"] {
        for _ in 0..10 {
            host.fails(name, 502, "failed", "the service failed", "call stack exhausted").await;
        }
    }
    host.is_refused("start", "call stack exhausted").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn many_copies_at_once_take_no_more_than_their_slots() {
    // Each holds eight memories until its deadline; the neighbour still gets one.
    let wait = "(call $block (call $timer (i64.const 100000000000)))";
    let memories = "(memory (export \"memory\") 1)".to_owned() + &"(memory 1)".repeat(7);
    let alloc = "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)";
    let greedy = bare(&format!("{memories} {alloc} {}", handle(wait)));
    let manifest = "[limits]\nconcurrency = 300\nqueue = 1000\ndeadline = \"3s\"\n";
    let host = Hostile::start(&[("greedy", manifest, greedy)]).await;
    let asked: Vec<_> = (0..300)
        .map(|_| {
            let (client, url) = (host.host.client.clone(), host.host.url("/greedy"));
            tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
        })
        .collect();
    for asked in asked {
        let reply = asked.await.expect("no panic").expect("an answer");
        assert!(matches!(reply.status.as_u16(), 503 | 504), "{reply:?}");
    }
    // Slots keep the first pages of what they held: here one page each.
    host.ends_as_it_began_but_for(2000 * (64 << 10)).await;
}

#[tokio::test]
async fn the_memory_of_all_guests_together_has_an_end_and_who_has_little_goes_on() {
    // 48 MiB each, and then it waits.
    let hold = "(drop (memory.grow (i32.const 768)))
        (call $block (call $timer (i64.const 100000000000)))";
    let host = Host::builder()
        .settings("guest-memory = \"128MiB\"\n")
        .file("hello.wasm", component("hello").0)
        .file("hold.wasm", handling(hold))
        .file("hold.toml", "[limits]\ndeadline = \"5s\"\n[instances]\nreuse = 1\n")
        .start()
        .await;
    let host = Hostile::of(host).await;
    host.has_room_for_some("hold", "there are 134217728 for all together").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn one_instruction_over_much_memory_is_computing_like_any_other() {
    const LIMITS: &str = "[limits]\nmemory = \"600MiB\"\ncpu = \"20ms\"\ndeadline = \"10s\"\n";
    const USED_UP: &str = "the service used its CPU time of 20ms up";
    let grow = "(drop (memory.grow (i32.const 8000)))";
    let half = "(i32.const 0x0f000000)";
    let fill = "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 0x1e000000))";
    let copy = format!("(memory.copy {half} (i32.const 65536) {half})");
    let host = Hostile::start(&[
        ("fill", LIMITS, handling(&format!("{grow} {fill}"))),
        ("copy", LIMITS, handling(&format!("{grow} {copy}"))),
    ])
    .await;
    for name in ["fill", "copy"] {
        host.fails(name, 504, "out-of-cpu", USED_UP, USED_UP).await;
    }
    let metrics = host.host.metrics().await;
    for name in ["fill", "copy"] {
        let slowed = format!("hotdock_slow_lane_total{{service=\"{name}\"}} 1");
        assert!(metrics.lines().any(|line| line == slowed), "{slowed} in {metrics}");
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_component_of_several_that_have_code_runs_where_nobody_waits_for_it() {
    let answer = handling("(call $answer (local.get $out))");
    let host =
        Hostile::start(&[("one", "", answer.clone()), ("several", "", beside_another(answer))])
            .await;
    for name in ["one", "several"] {
        host.answers(name).await;
    }
    let metrics = host.host.metrics().await;
    let slowed = |name: &str| {
        let series = format!("hotdock_slow_lane_total{{service=\"{name}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
        count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    assert_eq!(slowed("one"), 0);
    assert!(slowed("several") > 0, "{metrics}");
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn no_service_takes_the_memory_that_others_begin_with() {
    // 4 MiB each, and then it waits: all of them together would leave nothing.
    let hold = "(drop (memory.grow (i32.const 60)))
        (call $block (call $timer (i64.const 100000000000)))";
    let limits = "[limits]\ndeadline = \"5s\"\n[instances]\nreuse = 1\n";
    let modest = handling(
        "(if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable))
         (call $answer (local.get $out))",
    );
    let host = Host::builder()
        .settings("guest-memory = \"128MiB\"\n")
        .file("hello.wasm", component("hello").0)
        .file("modest.wasm", modest)
        .file("hold.wasm", handling(hold))
        .file("hold.toml", limits)
        .start()
        .await;
    let host = Hostile::of(host).await;
    let holders: Vec<_> = (0..40)
        .map(|_| {
            let (client, url) = (host.host.client.clone(), host.host.url("/hold"));
            tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
        })
        .collect();
    host.until_logged("hold", "the last quarter is for services that have little").await;
    for _ in 0..4 {
        host.answers("modest").await;
    }
    for holder in holders {
        let _how_it_ended = holder.await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn the_memory_of_idle_instances_is_given_up_for_who_needs_it() {
    // 48 MiB each, which stay with an instance that waits for its next request.
    let keep = "(drop (memory.grow (i32.const 768))) (call $answer (local.get $out))";
    let limits = "[instances]\nreuse = 1000000\nidle = \"1h\"\n";
    let host = Host::builder()
        .settings("guest-memory = \"128MiB\"\n")
        .file("hello.wasm", component("hello").0)
        .file("one.wasm", handling(keep))
        .file("one.toml", limits)
        .file("two.wasm", handling(keep))
        .file("two.toml", limits)
        .start()
        .await;
    let host = Hostile::of(host).await;
    // Both at once would be more than a quarter less than all.
    for name in ["one", "two", "one", "two"] {
        host.answers(name).await;
    }
    host.ends_as_it_began_but_for(64 << 20).await;
}
