//! Files that are no good components: broken ones, monstrous ones, and ones
//! that want what there is not.

use super::Hostile;
use super::guest::{exporting_handle, handling};

fn by_hand(items: &str) -> Vec<u8> {
    let text = format!("(component {items} {})", exporting_handle());
    wat::parse_str(&text).unwrap_or_else(|error| panic!("a component: {error}\n{text}"))
}

/// A service with another core module in its file.
fn beside(items: &str) -> Vec<u8> {
    by_hand(&format!("(core module {items})"))
}

/// A section of a component or a module: its number, its length, its content.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut bytes = vec![id];
    while length >= 0x80 {
        bytes.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// A service beside whose code there is a function of so many calls, which is compiled in one
/// piece.
pub fn slow_to_compile(calls: usize) -> Vec<u8> {
    let body = [b"\0".as_slice(), &b"\x10\0\x1a".repeat(calls), b"\x41\0\x0b"].concat();
    // A body has its length before it, as a section has: made as one, without its number.
    let body = section(0, &body)[1..].to_vec();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x01\x60\0\x01\x7f"),
        section(3, &[1, 0]),
        section(10, &[vec![1], body].concat()),
    ]
    .concat();
    [by_hand(""), section(1, &module)].concat()
}

#[tokio::test]
async fn what_a_component_wants_and_nobody_has_is_refused_by_name() {
    let import =
        |name: &str, items: &str| by_hand(&format!("(import \"{name}\" (instance {items}))"));
    let function = "(export \"f\" (func))";
    let host = Hostile::start(&[
        ("unknown", "", import("evil:host/root@1.0.0", function)),
        ("future", "", import("wasi:cli/stdout@0.9.0", function)),
        ("missing", "", import("wasi:cli/environment@0.2.0", function)),
        (
            "wrong-type",
            "",
            import(
                "wasi:random/random@0.2.0",
                "(export \"get-random-u64\" (func (result string)))",
            ),
        ),
        ("itself", "", import("wasi:http/incoming-handler@0.2.0", "(export \"handle\" (func))")),
        ("bare-function", "", by_hand("(import \"run\" (func))")),
        ("module", "", by_hand("(import \"m\" (core module))")),
    ])
    .await;
    host.is_refused("unknown", "import evil:host/root@1.0.0 is not provided by the host").await;
    host.is_refused("future", "import wasi:cli/stdout@0.9.0 is not provided in this version").await;
    host.is_refused("missing", "`wasi:cli/environment@0.2.0`").await;
    host.is_refused("wrong-type", "`wasi:random/random@0.2.0`").await;
    let reason = "import wasi:http/incoming-handler@0.2.0 is not provided by the host";
    host.is_refused("itself", reason).await;
    host.is_refused("bare-function", "import run is not provided by the host").await;
    host.is_refused("module", "import m is not provided by the host").await;
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn an_export_of_the_wrong_shape_is_refused() {
    let lifted = |ty: &str, core: &str| {
        wat::parse_str(format!(
            "(component
                (core module $m (func (export \"handle\") {core}))
                (core instance $i (instantiate $m))
                (func $f {ty} (canon lift (core func $i \"handle\")))
                (instance $e (export \"handle\" (func $f)))
                (export \"wasi:http/incoming-handler@0.2.0\" (instance $e)))"
        ))
        .expect("a component")
    };
    let empty =
        "(component (instance $e) (export \"wasi:http/incoming-handler@0.2.0\" (instance $e)))";
    let other = "(component (instance $e) (export \"wasi:http/handler@0.3.0\" (instance $e)))";
    let host = Hostile::start(&[
        ("no-parameters", "", lifted("", "")),
        ("numbers", "", lifted("(param \"a\" u32) (param \"b\" u32)", "(param i32 i32)")),
        ("empty", "", wat::parse_str(empty).expect("a component")),
        ("empty-three", "", wat::parse_str(other).expect("a component")),
    ])
    .await;
    for name in ["no-parameters", "numbers"] {
        host.is_refused(name, "type mismatch with parameters").await;
    }
    for name in ["empty", "empty-three"] {
        host.is_refused(name, "handle").await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_file_that_is_broken_anywhere_is_refused() {
    let good = handling("(call $answer (local.get $out))");
    let at = |part: usize| good[..good.len() * part / 8].to_vec();
    let ended = |section: Vec<u8>| [good.clone(), section].concat();
    let module = |section: Vec<u8>| {
        let module = [b"\0asm\x01\0\0\0".to_vec(), section].concat();
        ended(self::section(1, &module))
    };
    let huge_length = [good.clone(), vec![1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let endless_leb = [good.clone(), vec![1; 1], vec![0x80; 64]].concat();
    let files: Vec<(String, Vec<u8>)> = (1..8)
        .map(|part| (format!("cut-{part}"), at(part)))
        .chain([
            ("unknown-section".to_owned(), ended(section(99, b"?"))),
            ("huge-length".to_owned(), huge_length),
            ("endless-number".to_owned(), endless_leb),
            // A section that says four billion entries in two bytes.
            ("many-types".to_owned(), module(section(1, &[0xff, 0xff, 0xff, 0xff, 0x0f]))),
            ("many-aliases".to_owned(), ended(section(6, &[0xff, 0xff, 0xff, 0xff, 0x0f]))),
            ("many-functions".to_owned(), module(section(3, &[0xff, 0xff, 0xff, 0xff, 0x0f]))),
            ("module-in-part".to_owned(), ended(section(1, b"\0asm\x01\0\0"))),
            ("no-code".to_owned(), module(section(3, &[1, 0]))),
        ])
        .collect();
    let guests: Vec<(&str, &str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), "", bytes.clone())).collect();
    let host = Hostile::start(&guests).await;
    for (name, _) in &files {
        host.is_refused(name, "").await;
    }
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_monstrous_component_is_refused_or_works() {
    let functions = "(func)".repeat(30_000);
    let targets = "0 ".repeat(50_000);
    let table = format!("(block $b (br_table {targets} (local.get $i)))");
    let blocks = "(block ".repeat(20_000) + &")".repeat(20_000);
    let data = format!("(data (i32.const 0) \"{}\")", "x".repeat(16 << 20));
    let name = "n".repeat(1 << 20);
    let exports: String = (0..100_000).map(|i| format!("(export \"e{i}\" (func $f))")).collect();
    let nested = |depth: usize| {
        let empty = b"\0asm\x0d\0\x01\0".to_vec();
        let inner =
            (1..depth).fold(empty.clone(), |inner, _| [empty.clone(), section(4, &inner)].concat());
        [by_hand(""), section(4, &inner)].concat()
    };
    let types: String = (1..2000).map(|i| format!("(type $t{i} (list $t{}))", i - 1)).collect();
    let fields: String = (0..10_000).map(|i| format!("(field \"f{i}\" u8)")).collect();
    let locals = "(local i64)".repeat(60_000);
    let params = "(param i32)".repeat(2_000);
    let answer = "(call $answer (local.get $out))";
    let guests: Vec<(&str, Vec<u8>)> = vec![
        ("functions", beside(&functions)),
        ("targets", handling(&format!("{table} {answer}"))),
        ("blocks", handling(&format!("{blocks} {answer}"))),
        ("data", beside(&format!("(memory 300) {data}"))),
        ("import-name", by_hand(&format!("(import \"{name}\" (func))"))),
        ("export-name", beside(&format!("(func (export \"{name}\"))"))),
        ("exports", beside(&format!("(func $f) {exports}"))),
        ("shallow", nested(50)),
        ("deep", nested(2_000)),
        ("types", by_hand(&format!("(type $t0 u8) {types}"))),
        ("record", by_hand(&format!("(type (record {fields}))"))),
        ("locals", beside(&format!("(func {locals})"))),
        ("parameters", beside(&format!("(func {params})"))),
    ];
    let deployed: Vec<(&str, &str, Vec<u8>)> =
        guests.iter().map(|(name, bytes)| (*name, "", bytes.clone())).collect();
    let host = Hostile::start(&deployed).await;
    let mut refused = 0;
    for (name, _) in &guests {
        let file = format!("{name}.wasm");
        if host.host.service(name).await["serving"].is_object() {
            let reply = host.host.get(&format!("/{name}")).await;
            assert!(matches!(reply.status.as_u16(), 200 | 502), "{name}: {reply:?}");
        } else {
            let reasons = host.host.until_refused(&file).await;
            assert!(!reasons.is_empty() && reasons.len() < 10_000, "{name}: {}", reasons.len());
            refused += 1;
        }
        host.neighbour_answers().await;
    }
    assert!((1..guests.len()).contains(&refused), "{refused}");
    host.ends_as_it_began().await;
}

#[tokio::test]
async fn a_component_that_takes_too_long_to_compile_is_refused() {
    let slow = slow_to_compile(2_000_000);
    // One that compiles at once, however busy the machine is.
    let neighbour = handling("(call $answer (local.get $out))");
    let host = crate::harness::Host::builder()
        .settings("compile-timeout = \"2s\"\n")
        .file("hello.wasm", neighbour)
        .start()
        .await;
    let host = Hostile::of(host).await;
    host.host.drop_file("slow.wasm", slow);
    host.is_refused("slow", "it does not compile within 2s").await;
    host.ends_as_it_began().await;
}
