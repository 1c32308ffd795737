//! Those that call: one that asks everybody and tells what it got, and the table of hostile ones.

use super::callees::{BEYOND, Callee, TOO_MUCH, USED_UP};
use super::guest::{Guest, answers, made_of};

/// For those that compute.
const SPINS: &str = "cpu = \"20ms\"\ndeadline = \"1m\"\n";

/// One that calls, with its limits and whom it calls.
pub struct Caller {
    pub name: &'static str,
    pub limits: &'static str,
    pub guest: Guest,
    /// The status and the kind of its client's problem, and what the log has.
    pub problem: (u16, &'static str),
    pub log: &'static str,
}

/// It answers `/…/07` with what the eighth of these says: 200 and the value's first bytes, or 503
/// and the error.
pub fn asking(callees: &[Callee]) -> Guest {
    let all: String = callees.iter().map(|callee| format!("$call-{} ", callee.name)).collect();
    let asking = made_of(&format!(
        r#"(type $go (func (param i32 i32 i32)))
        (table $all funcref (elem {all}))
        (func $digit (param $at i32) (result i32)
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (func (export "handle") (param i32 i32 i32) (param $target i32) (param $size i32)
            (param i32 i32 i32 i32) (result i32) (local $end i32)
            (local.set $end (i32.add (local.get $target) (local.get $size)))
            (call_indirect $all (type $go) (i32.const 16) (i32.const 4) (i32.const 64)
                (i32.add
                    (i32.mul (i32.const 10)
                        (call $digit (i32.sub (local.get $end) (i32.const 2))))
                    (call $digit (i32.sub (local.get $end) (i32.const 1)))))
            (i32.store16 (i32.const 96) (i32.const 200))
            (i32.store (i32.const 108) (i32.const 68))
            (i32.store (i32.const 112) (i32.const 4))
            (if (i32.load8_u (i32.const 64)) (then
                (i32.store16 (i32.const 96) (i32.const 503))
                (i32.store (i32.const 108) (i32.load (i32.const 68)))
                (i32.store (i32.const 112) (i32.load (i32.const 72)))))
            (i32.const 96))"#
    ));
    callees.iter().fold(asking, |asking, callee| asking.calling_one(callee.name, &callee.guest))
}

/// One that calls only `friend`, and answers nothing.
pub fn pinging() -> Guest {
    answers("(drop (call $ping)) (i32.const 96)").pinging()
}

fn case(
    name: &'static str,
    limits: &'static str,
    guest: Guest,
    problem: (u16, &'static str),
    log: &'static str,
) -> Caller {
    Caller { name, limits, guest, problem, log }
}

/// Each in a row. They call `calm`, `traps` and `friend`.
pub fn callers() -> Vec<Caller> {
    let failed = (502, "failed");
    let out_of_cpu = (504, "out-of-cpu");
    let over_limit = (502, "over-limit");
    let text = |at: u32, length: u32| call("calm", at, length, 64);
    let result = |at: u32| call("calm", 16, 4, at);
    let spoilt = |body: &str| {
        let spoils = format!("(global.set $spoilt (i32.const 1)) {}", call("traps", 16, 4, 64));
        answers(&format!("{spoils} (i32.const 96)")).calling("traps").spoilt(body)
    };
    let calm = |body: &str| answers(&format!("{body} (i32.const 96)")).calling("calm");
    let garbled = format!("(i32.store (i32.const 16) (i32.const -1)) {}", text(16, 4));
    let huge = format!("(drop (memory.grow (i32.const 700))) {}", text(0, 0x280_0000));
    let for_ever = answers("(loop $again (drop (call $ping)) (br $again)) unreachable").pinging();
    vec![
        // What they send is nothing that there is.
        case("text-beyond", "", calm(&text(BEYOND, 16)), failed, "beyond the end"),
        case("text-garbled", "", calm(&garbled), failed, "not UTF-8"),
        case("text-huge", "", calm(&huge), over_limit, TOO_MUCH),
        // There is no room where they want the result.
        case("result-beyond", "", calm(&result(BEYOND)), failed, "out of bounds"),
        case("result-unaligned", "", calm(&result(66)), failed, "not aligned"),
        // Their allocators lie, to the host about its own words.
        case(
            "allocates-beyond",
            "",
            spoilt("(return (i32.const 0x7ffffff0))"),
            failed,
            "beyond end of memory",
        ),
        case("allocates-a-trap", "", spoilt("unreachable"), failed, "libc!"),
        case("allocates-for-ever", SPINS, spoilt("(loop $again (br $again))"), out_of_cpu, USED_UP),
        case("calls-for-ever", SPINS, for_ever, out_of_cpu, USED_UP),
    ]
}

/// Calls it with the text that is there, for a result that is to be at `result`.
fn call(name: &str, text: u32, length: u32, result: u32) -> String {
    format!("(call $call-{name} (i32.const {text}) (i32.const {length}) (i32.const {result}))")
}
