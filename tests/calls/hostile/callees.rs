//! The table of those that are called, and what comes of each.

use super::guest::{Guest, awaits, does, returns, returns_and_then};

/// For those that compute: on a busy machine the slow lane takes its time.
const SPINS: &str = "[limits]\ncpu = \"20ms\"\ndeadline = \"1m\"\n";

/// For those that wait.
const WAITS: &str = "[limits]\ndeadline = \"300ms\"\n";

/// For those that their own limits would not end.
const ENDLESS: &str = "[limits]\ncpu = \"10m\"\ndeadline = \"1h\"\n";

/// For those that would wait for a permit that their own callers hold.
const ALONE: &str = "[limits]\nconcurrency = 1\nqueue = 0\ndeadline = \"1m\"\n";

/// Waits for an hour.
const WAIT: &str = "(call $block (call $timer (i64.const 3600000000000))) unreachable";

pub const USED_UP: &str = "the service used its CPU time of 20ms up";

pub const TOO_MUCH: &str = "it reached its limit of 33554432 bytes of data in one call";

/// What its caller gets of a callee.
pub enum Told {
    /// That it failed; the log says with these words why.
    Failed(&'static str),
    /// That it reached a limit of its own, in these words.
    Words(&'static str),
    /// That calls are as deep as they get.
    TooDeep,
    /// A value, of which these are the first bytes.
    Value([u8; 4]),
    /// Nothing within the caller's time.
    Late,
}

/// One that is called: its name, which is its interface's, too, its manifest, and itself.
pub struct Callee {
    pub name: &'static str,
    pub manifest: String,
    pub guest: Guest,
    pub told: Told,
}

fn case(name: &'static str, manifest: &str, guest: Guest, told: Told) -> Callee {
    Callee { name, manifest: manifest.to_owned(), guest, told }
}

/// The same of one that calls others.
fn calls(name: &'static str, calls: &str, limits: &str, guest: Guest, told: Told) -> Callee {
    let manifest = format!("{limits}[capabilities]\ncalls = [{calls:?}]\n");
    Callee { name, manifest, guest, told }
}

/// One whose calls of `traps` fail, over and over.
pub fn flooding() -> Callee {
    let limits = "[limits]\ncpu = \"20ms\"\ndeadline = \"1m\"\nlog = \"1KiB\"\n";
    let again = "(loop $again (call $call-traps (local.get $text) (local.get $length) \
                 (i32.const 64)) (br $again)) unreachable";
    calls("floods", "traps", limits, does(again).calling("traps"), words(USED_UP))
}

fn failed(why: &'static str) -> Told {
    Told::Failed(why)
}

fn words(words: &'static str) -> Told {
    Told::Words(words)
}

fn value(bytes: [u8; 4]) -> Told {
    Told::Value(bytes)
}

/// A place that is in no guest's memory.
pub const BEYOND: u32 = 0x7fff_fff0;

/// As long as it gets.
const ENDLESS_LENGTH: u32 = u32::MAX;

/// Each in a row; the first is as good as they get.
pub fn callees() -> Vec<Callee> {
    let ended_badly = ending_badly().into_iter().chain(returning_nothing_that_is());
    let with_tricks = allocating().into_iter().chain(going_on_after());
    ended_badly.chain(with_tricks).chain(keeping_their_callers()).collect()
}

fn ending_badly() -> Vec<Callee> {
    vec![
        case("calm", "", returns(&[(68, 42)]), value([42, 0, 0, 0])),
        case("traps", "", does("unreachable"), failed("`unreachable`")),
        case("computes", SPINS, does("(loop $again (br $again)) unreachable"), words(USED_UP)),
        case(
            "recurses",
            "",
            does("(call $go (i32.const 0) (i32.const 0))"),
            failed("call stack exhausted"),
        ),
        case(
            "grows",
            "[limits]\nmemory = \"1MiB\"\n",
            does(
                "(loop $more (br_if $more
                    (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
            ),
            failed("it reached its limit of 1048576 bytes of memory"),
        ),
        case(
            "waits",
            WAITS,
            does(WAIT).waiting(),
            words("the service did not answer within 300ms"),
        ),
    ]
}

fn returning_nothing_that_is() -> Vec<Callee> {
    vec![
        case("result-beyond", "", does("(i32.const 0x7ffffff0)"), failed("out of bounds")),
        case("result-unaligned", "", does("(i32.const 66)"), failed("not aligned")),
        case(
            "result-of-no-case",
            "",
            returns(&[(64, 2)]),
            failed("a case that its type does not have"),
        ),
        case(
            "error-beyond",
            "",
            returns(&[(64, 1), (68, BEYOND), (72, 16)]),
            failed("beyond the end"),
        ),
        case(
            "text-endless",
            "",
            returns(&[(72, ENDLESS_LENGTH)]).returning("string"),
            failed("beyond the end"),
        ),
        case(
            "text-garbled",
            "",
            returns(&[(128, 0x8080_8080), (68, 128), (72, 4)]).returning("string"),
            failed("not UTF-8"),
        ),
        case("text-huge", "", huge(0x280_0000).returning("string"), failed(TOO_MUCH)),
        case(
            "list-endless",
            "",
            returns(&[(72, ENDLESS_LENGTH)]).returning("(list u32)"),
            failed("beyond the end"),
        ),
        case(
            "list-unaligned",
            "",
            returns(&[(68, 129), (72, 1)]).returning("(list u32)"),
            failed("not aligned"),
        ),
        case("list-huge", "", huge(0xa0_0000).returning("(list u32)"), failed(TOO_MUCH)),
        case(
            "option-of-no-case",
            "",
            returns(&[(68, 2)]).returning("(option u32)"),
            failed("a case that its type does not have"),
        ),
        case(
            "colour-of-no-case",
            "",
            returns(&[(68, 7)]).showing(r#"(enum "red" "green")"#),
            failed("a case that its type does not have"),
        ),
        case("surrogate", "", returns(&[(68, 0xd800)]).returning("char"), failed("no character")),
        // What the canonical ABI makes a value of is one.
        case("truth-of-seven", "", returns(&[(68, 7)]).returning("bool"), value([1, 0, 0, 0])),
        case(
            "flags-too-many",
            "",
            returns(&[(68, 255)]).showing(r#"(flags "read" "write")"#),
            value([3, 0, 0, 0]),
        ),
    ]
}

fn allocating() -> Vec<Callee> {
    vec![
        case(
            "allocates-beyond",
            "",
            returns(&[]).allocating("(i32.const 0x7ffffff0)"),
            failed("beyond end of memory"),
        ),
        case(
            "allocates-a-trap",
            "",
            returns(&[]).allocating("unreachable"),
            failed("`unreachable`"),
        ),
        case(
            "allocates-for-ever",
            SPINS,
            returns(&[]).allocating("(loop $again (br $again)) unreachable"),
            words(USED_UP),
        ),
        calls(
            "allocates-by-a-call",
            "friend",
            "",
            returns(&[]).pinging().imports_for_its_allocator().allocating("(call $ping)"),
            failed("cannot leave component instance"),
        ),
    ]
}

fn going_on_after() -> Vec<Callee> {
    vec![
        case("traps-after", "", returns_and_then("unreachable"), failed("`unreachable`")),
        case(
            "computes-after",
            SPINS,
            returns_and_then("(loop $again (br $again))"),
            words(USED_UP),
        ),
        calls(
            "calls-after",
            "friend",
            "",
            returns_and_then("(drop (call $ping))").pinging(),
            failed("cannot leave component instance"),
        ),
        case(
            "returns-nothing",
            "",
            awaits("(i32.const 0)", "(i32.const 0)"),
            failed("failed to produce a result"),
        ),
        case("yields-for-ever", SPINS, awaits("(i32.const 1)", "(i32.const 1)"), words(USED_UP)),
        // It has returned, and is ended alone.
        case(
            "goes-on-for-ever",
            SPINS,
            awaits(
                "(call $return (i32.const 0) (i32.const 9) (i32.const 0)) (i32.const 1)",
                "(i32.const 1)",
            ),
            value([9, 0, 0, 0]),
        ),
    ]
}

fn keeping_their_callers() -> Vec<Callee> {
    let again = |name: &str| {
        format!("(call $call-{name} (local.get $text) (local.get $length) (i32.const 64))")
    };
    let deep = |name: &str| does(&format!("{} (i32.const 64)", again(name))).calling(name);
    let twice = does(&format!("{0} {0} (i32.const 64)", again("doubles"))).calling("doubles");
    vec![
        calls("circle", "circle", ALONE, deep("circle"), Told::TooDeep),
        calls("ring-one", "ring-other", ALONE, deep("ring-other"), Told::TooDeep),
        calls("ring-other", "ring-one", ALONE, deep("ring-one"), Told::TooDeep),
        case("outwaits", ENDLESS, does(WAIT).waiting(), Told::Late),
        case("outcomputes", ENDLESS, does("(loop $again (br $again)) unreachable"), Told::Late),
        // Two to the sixteenth, if it had the time.
        calls("doubles", "doubles", ENDLESS, twice, Told::Late),
    ]
}

/// One that returns a text, or a list, of zeros that is so long.
fn huge(length: u32) -> Guest {
    does(&format!(
        "(drop (memory.grow (i32.const 700)))
        (i32.store (i32.const 72) (i32.const {length})) (i32.const 64)"
    ))
}
