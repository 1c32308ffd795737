use std::time::Duration;

use http::Method;

use super::*;
use crate::manifest::Route;

fn read(text: &str) -> Result<Manifest, Vec<String>> {
    let text = ManifestText { file: "cart.toml".to_owned(), text: text.to_owned() };
    let read = Manifest::read("cart", Some(&text));
    read.map_err(|error| error.problems.iter().map(Problem::to_string).collect())
}

fn refusal(text: &str) -> Vec<String> {
    read(text).expect_err("a refusal")
}

#[test]
fn without_a_text_the_stem_names_service_and_route() {
    let manifest = Manifest::read("cart", None).expect("a manifest");
    assert_eq!(manifest, Manifest::default_for("cart".parse().expect("a name")));
    let error = Manifest::read("My Cart", None).expect_err("no name");
    assert!(error.to_string().contains("rename `My Cart.wasm`"), "{error}");
    let error = Manifest::read("Bad_Name", None).expect_err("no name");
    assert!(error.to_string().contains("`Bad_Name` cannot name a service"), "as it is written");
    assert_eq!(read("").expect("a manifest").routes[0].path, "/cart");
}

#[test]
fn every_key_is_read() {
    let manifest = read(
        r#"
        [service]
        name = "shop-cart"
        [[route]]
        path = "/cart/"
        host = "Shop.Example"
        methods = ["GET", "POST"]
        [[route]]
        path = "/"
        [limits]
        memory = "32MiB"
        cpu = "100ms"
        deadline = "1m 30s"
        body-idle = "1m"
        body-deadline = "1h"
        streams = 9
        concurrency = 8
        queue = 0
        outbound-requests = 5
        request-body = 1024
        replay-body = "2 KiB"
        response-buffer = "1kB"
        response-body = "3MiB"
        table-elements = 7
        handles = 500
        host-memory = "5MiB"
        log = "1MiB"
        [instances]
        reuse = 100
        idle = "1s"
        [capabilities]
        outbound = ["https://api.example.com", "http://10.0.0.5:8080", "https://*.Example.com", "H2C://peer:50051"]
        config = { currency = "EUR" }
        [deploy]
        health = "/cart/health?deep=1"
        allow-breaking = true
        drain = "0s"
        [[migration]]
        name = "0001"
        sql = "CREATE TABLE orders (id)"
        [[migration]]
        name = "0002"
        sql = "CREATE TABLE lines (id)"
        "#,
    )
    .expect("a manifest");
    assert_eq!(manifest.service.as_str(), "shop-cart");
    let route = |path: &str| Route { path: path.to_owned(), host: None, methods: None };
    let methods = Some(vec![Method::GET, Method::POST]);
    let host = Some("shop.example".to_owned());
    assert_eq!(manifest.routes, [Route { host, methods, ..route("/cart") }, route("/")]);
    let limits = Limits {
        memory: 32 << 20,
        cpu: Duration::from_millis(100),
        deadline: Duration::from_secs(90),
        body_idle: Duration::from_secs(60),
        body_deadline: Some(Duration::from_secs(3600)),
        streams: 9,
        concurrency: 8,
        queue: 0,
        outbound_requests: 5,
        request_body: 1024,
        replay_body: 2048,
        response_buffer: 1000,
        response_body: 3 << 20,
        table_elements: 7,
        handles: 500,
        host_memory: 5 << 20,
        log: 1 << 20,
    };
    assert_eq!(manifest.limits, limits);
    assert_eq!(manifest.instances, Instances { reuse: 100, idle: Duration::from_secs(1) });
    assert_eq!(manifest.capabilities.config["currency"], "EUR");
    let outbound: Vec<_> = manifest.capabilities.outbound.iter().map(ToString::to_string).collect();
    assert_eq!(
        outbound,
        [
            "https://api.example.com",
            "http://10.0.0.5:8080",
            "https://*.example.com",
            "h2c://peer:50051"
        ]
    );
    assert_eq!(manifest.deploy.health.as_deref(), Some("/cart/health?deep=1"));
    assert!(manifest.deploy.allow_breaking);
    assert_eq!(manifest.deploy.drain, Duration::ZERO);
    let names: Vec<_> = manifest.migrations.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names, ["0001", "0002"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_known_key() {
    assert_eq!(
        refusal("[limits]\nmemroy = \"1MiB\"\n  Deadline = \"1s\"\n"),
        [
            "cart.toml:2:1: unknown key `[limits] memroy`; did you mean `memory`?",
            "cart.toml:3:3: unknown key `[limits] Deadline`; did you mean `deadline`?",
        ]
    );
    let unknown = refusal("[[follow]]\ntype = \"a\"\n");
    assert!(
        unknown[0].starts_with("cart.toml:1:3: unknown key `follow`; known here: service"),
        "{unknown:?}"
    );
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let problems = refusal(
        "[limits]\nmemory = \"1KiB\"\ncpu = 5\nqueue = -1\ndeadline = \"soon\"\n[[route]]\npath = \"cart\"\nmethods = []\nport = 1\n",
    );
    let places: Vec<_> =
        problems.iter().map(|each| each.split(": ").next().unwrap_or_default()).collect();
    let expected = [
        "cart.toml:2:10",
        "cart.toml:3:7",
        "cart.toml:4:9",
        "cart.toml:5:12",
        "cart.toml:7:8",
        "cart.toml:8:11",
        "cart.toml:9:1",
    ];
    assert_eq!(places, expected, "{problems:#?}");
    assert!(problems[0].contains("between 1.0 MiB and 4.0 GiB; found: 1.0 KiB"), "{}", problems[0]);
    assert!(problems[1].contains("with its unit"), "{}", problems[1]);
}

#[test]
fn of_very_many_problems_the_first_are_told_and_the_rest_are_counted() {
    let text: String = (0..20_000).map(|key| format!("wrong-{key} = 1\n")).collect();
    let problems = refusal(&text);
    assert_eq!(problems.len(), 51);
    assert!(problems[0].contains("wrong-0") && problems[50].ends_with("and 19950 more"));
    let long = refusal(&format!("{} = 1\n", "x".repeat(100_000)));
    assert!(long[0].len() < 2_000, "{}", long[0]);
}

#[test]
fn what_a_path_is_to_be_written_as_is_taken() {
    let route = |path: &str| format!("[[route]]\npath = \"{path}\"\n");
    for (path, problem) in [
        ("/%61", "write `/a`"),
        ("/a/{id}", "write `/a`"),
        ("/%61/{id}", "write `/a`"),
        ("/%2e%2e/x", "must have no `.` or `..` segment"),
        ("/%2E/:id", "must have no `.` or `..` segment"),
        ("/ä/{id}", "has 'ä', which must be percent-encoded"),
        ("/a%2Fb", "write `/a/b`"),
        ("/a%5cb%2f", "write `/a/b`"),
        ("/a%2F..%2Fb", "write `/b`"),
        ("/%2f", "write `/`"),
    ] {
        let refused = refusal(&route(path));
        assert!(refused[0].contains(problem), "{path}: {refused:?}");
        let advice = problem.strip_prefix("write `").and_then(|rest| rest.strip_suffix('`'));
        if let Some(advice) = advice {
            assert!(read(&route(advice)).is_ok(), "{advice}");
        }
    }
}

#[test]
fn an_encoded_slash_needs_a_route_for_the_path_without() {
    let routes =
        |other: &str| format!("[[route]]\npath = \"/a%2Fb\"\nhost = \"x\"\n[[route]]\n{other}");
    for other in ["path = \"/a/b\"\n", "path = \"/a\"\nhost = \"x\"\n", "path = \"/\"\n"] {
        assert!(read(&routes(other)).is_ok(), "{other}");
    }
    for other in ["path = \"/a/b/c\"\n", "path = \"/\"\nhost = \"y\"\n", "path = \"/ab\"\n"] {
        let refused = refusal(&routes(other));
        assert!(refused[0].contains("route `/a%2Fb` is never taken"), "{refused:?}");
    }
}

#[test]
fn broken_toml_and_wrong_types_are_refused() {
    assert!(refusal("[limits\n")[0].starts_with("cart.toml:1:"));
    assert_eq!(
        refusal("limits = 5\n")[0],
        "cart.toml:1:10: `limits` must be a table: `[limits]`; found: integer"
    );
    assert!(refusal("[route]\npath = \"/a\"\n")[0].contains("an array of tables: `[[route]]`"));
    let tunnel = refusal("[[route]]\npath = \"/a\"\nmethods = [\"GET\", \"connect\"]\n");
    assert!(tunnel[0].contains("has `CONNECT`, which asks a proxy for a tunnel"), "{tunnel:?}");
    let preface = refusal("[[route]]\npath = \"/a\"\nmethods = [\"PRI\"]\n");
    assert!(preface[0].contains("has `PRI`, which begins HTTP/2"), "{preface:?}");
    assert!(refusal("[service]\nname = \"A B\"\n")[0].contains("cannot name a service"));
    assert!(
        refusal("[capabilities]\nconfig = { n = 1 }\n")[0].contains("`[capabilities] config.n`")
    );
    assert!(refusal("[deploy]\nallow-breaking = \"yes\"\n")[0].contains("must be true or false"));
    assert!(refusal("[deploy]\nhealth = \"up\"\n")[0].contains("starts with `/`"));
}

#[test]
fn paths_and_hosts_that_no_request_could_have_are_refused() {
    for path in ["", "cart", "/a?b", "/a#b", "/a//b", "/a/../b", "/.", "/a b", "/ä", "/%zz", "/%4"]
    {
        let refused = refusal(&format!("[[route]]\npath = \"{path}\"\n"));
        assert!(refused[0].starts_with("cart.toml:2:8: `[[route]] path`"), "{path}: {refused:?}");
    }
    for host in ["", "a b", "shop.example:80", "*.example", "[::1]:80", "a..b"] {
        assert!(read(&format!("[[route]]\npath = \"/a\"\nhost = \"{host}\"\n")).is_err(), "{host}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert!(read(&format!("[[route]]\npath = \"/a\"\nhost = \"{host}\"\n")).is_ok(), "{host}");
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    let route = "[[route]]\npath = \"/a\"\n";
    assert_eq!(refusal(&format!("{route}{route}")), ["cart.toml:3:1: route `/a` is there twice"]);
    assert!(read(&format!("{route}host = \"x\"\n{route}")).is_ok());
    let migration = "[[migration]]\nname = \"1\"\nsql = \"SELECT 1\"\n";
    assert!(
        refusal(&format!("{migration}{migration}"))[0].contains("migration `1` is there twice")
    );
    assert!(refusal("[[migration]]\nname = \"1\"\n")[0].contains("has no `sql`"));
}

#[test]
fn the_digest_is_of_the_text() {
    let (one, other) = (read("[limits]\nqueue = 1\n"), read("[limits]\nqueue = 1 \n"));
    assert_ne!(one.expect("a manifest").digest, other.expect("a manifest").digest);
    assert_eq!(read("").expect("a manifest").digest, Digest::of(b""));
}

#[test]
fn an_origin_that_cannot_be_granted_is_refused_with_its_place() {
    assert_eq!(
        refusal(
            "[capabilities]\noutbound = [\n  \"https://ok.example\",\n  \"https://x.example/v1\",\n  7,\n]\n"
        ),
        [
            "cart.toml:4:3: `[capabilities] outbound` has `https://x.example/v1`, which is no origin such as \"https://api.example.com\": it must end after the host or the port, without path, query or fragment",
            "cart.toml:5:3: `[capabilities] outbound` must be a text in quotes; found: integer",
        ]
    );
    assert!(refusal("[capabilities]\noutbound = \"https://x.example\"\n")[0].contains("an array"));
    let twice =
        refusal("[capabilities]\noutbound = [\"http://x.example\", \"http://X.example:80\"]\n");
    assert!(twice[0].contains("twice"), "{twice:?}");
}
