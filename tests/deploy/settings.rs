//! What a host is told at its start and while it runs: addresses, `hotdock.toml`, SIGHUP.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use http::header::AUTHORIZATION;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::operator::{acting, ask, deploy, hotdock, until_state, until_step, upload};
use crate::harness::{Host, eventually, hello};

fn up(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let output = command.arg("up").args(arguments).current_dir(folder.path()).output();
    let output = output.expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn settings_are_checked_without_a_start() {
    assert_eq!(up(&["--check", "--listen", "localhost:0"]).0, Some(0));
    assert_eq!(up(&["--check", "--listen", ":0"]).0, Some(0));
    let (code, said) = up(&["--check", "--admin", "0.0.0.0:1"]);
    assert!(code == Some(3) && said.contains("--token-file"), "{said}");
    for (arguments, reason) in [
        (["--data", "/proc/x"], "the data folder /proc/x cannot be made: "),
        (["--data", "/proc/self/x/y"], "the data folder /proc/self/x/y cannot be made: "),
    ] {
        let (code, said) = up(&["--check", arguments[0], arguments[1]]);
        assert!(code == Some(3) && said.contains(reason), "{said}");
    }
    for (arguments, reason) in [
        (["--check", "--data=d", "absent"], "the plugin folder absent cannot be used"),
        (["--check", "--secrets", "absent"], "the folder of secrets absent cannot be used"),
    ] {
        let (code, said) = up(&arguments);
        assert!(code == Some(3) && said.contains(reason), "{said}");
    }
    assert_eq!(up(&["--check", "--config", "/dev/null"]).0, Some(0), "none");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "lisen = 1\ndrain = 2\n").expect("written");
    let (code, said) = up(&["--check", "--config", file.path().to_str().expect("text")]);
    assert!(code == Some(3) && said.contains(":1:1: `lisen`"), "{said}");
    assert!(said.contains(":2:9: `drain` must be a string"), "{said}");
    // What is wrong outside of the file is told with it, but nothing of what it says wrongly.
    let text =
        "folder = 7\nsecrets = \"absent\"\n[[webhook]]\nname = \"a\"\n[[webhook]]\nname = \"b\"\n";
    std::fs::write(file.path(), text).expect("written");
    let (code, said) = up(&["--check", "--config", file.path().to_str().expect("text")]);
    for told in [
        ":1:10: `folder` must be",
        ":3:1: webhook `a` has no `url`",
        ":5:1: webhook `b` has no `url`",
        ":5:1: webhook `b` has no `types`",
        "the folder of secrets absent cannot be used",
    ] {
        assert!(code == Some(3) && said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("plugin folder"), "{said}");
    let (code, said) = up(&["--check", "--config", "absent.toml"]);
    assert_eq!(code, Some(3));
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

/// Those of the flags, of their variables, of the file and of what they name.
#[test]
fn all_that_is_wrong_with_flags_and_file_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    std::fs::write(folder.path().join("hotdock.toml"), "lisen = 1\n").expect("written");
    std::fs::write(folder.path().join("token"), "short").expect("written");
    let up = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        command.arg("up").args(arguments).current_dir(folder.path()).env("HOTDOCK_DRAIN", "soon");
        command.env("HOTDOCK_DATA", "");
        let output = command.env_remove("HOTDOCK_TOKEN").output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let wrong = [
        "--listen=nowhere",
        "--admin=127.0.0.1",
        "--idempotency-ttl",
        "-1s",
        "--log-format=xml",
        "--log=verbose",
        "--outbound-allow-private=10.0.0.0/8,x,10.0.0.0/99",
        "--token-file=token",
        "--secrets=absent",
    ];
    let (code, checked) = up(&[&["--check"], &wrong[..]].concat());
    for told in [
        "hotdock.toml:1:1: `lisen` is no setting",
        "--listen (HOTDOCK_LISTEN): `nowhere` is no address",
        "--admin (HOTDOCK_ADMIN): `127.0.0.1` is no address",
        "--drain (HOTDOCK_DRAIN): `soon` is no duration",
        "--data (HOTDOCK_DATA): it is empty",
        "--idempotency-ttl (HOTDOCK_IDEMPOTENCY_TTL): `-1s` is no duration",
        "--log-format (HOTDOCK_LOG_FORMAT): `xml` is no form of the log: text or json",
        "--log (HOTDOCK_LOG): `verbose` says nothing of what to log",
        "--outbound-allow-private (HOTDOCK_OUTBOUND_ALLOW_PRIVATE): `x` is neither",
        "--outbound-allow-private (HOTDOCK_OUTBOUND_ALLOW_PRIVATE): `10.0.0.0/99` is neither",
        "a token has 16 to 4096 visible",
        "the folder of secrets absent cannot be used",
    ] {
        assert_eq!(checked.matches(told).count(), 1, "{told}: {checked}");
    }
    assert_eq!((code, checked.lines().count()), (Some(2), 12), "{checked}");
    assert_eq!(up(&wrong), (code, checked), "a start says the same");
}

#[test]
fn a_line_end_in_what_is_named_begins_no_line() {
    for arguments in [&["--check", "a\nb"][..], &["a\nb"]] {
        let (code, said) = up(arguments);
        assert!(
            code == Some(3) && said.contains("the plugin folder a\\nb cannot be used"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// All of it, the same words, and the same exit code.
#[test]
fn what_a_host_refuses_at_its_start_is_refused_without_one() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let webhook = "[[webhook]]\nname = \"a\"\nurl = \"https://x.example/\"\ntypes = [\">\"]\n\
                   secret-file = \"nosuch\"\n";
    std::fs::write(file.path(), webhook).expect("written");
    let file = file.path().to_str().expect("text");
    let folder = tempfile::tempdir().expect("a folder");
    let data = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    symlink("nowhere", data("link")).expect("a link");
    for name in ["newer", "other", "broken", "damaged"] {
        std::fs::create_dir_all(data(name)).expect("a folder");
    }
    let newer = rusqlite::Connection::open(data("newer/host.db")).expect("a file");
    newer
        .execute_batch("PRAGMA application_id = 1752134756; PRAGMA user_version = 99")
        .expect("set");
    let other = rusqlite::Connection::open(data("other/bus.db")).expect("a file");
    other.execute_batch("CREATE TABLE t (x)").expect("made");
    for name in ["broken/bus.db", "damaged/host.db"] {
        std::fs::write(data(name), [b'x'; 5000]).expect("written");
    }
    let (link, below, newer, other, broken) =
        (data("link"), format!("{file}/d"), data("newer"), data("other"), data("broken"));
    let (damaged, wrong) = (data("damaged"), data("wrong.toml"));
    std::fs::write(&wrong, "lisen = 1\n").expect("written");
    for (arguments, reasons) in [
        (vec!["--token-file", "absent"], vec!["absent (--token-file, ", "cannot be read"]),
        (vec!["--config", &wrong], vec![":1:1: `lisen` is no setting"]),
        (vec!["absent"], vec!["the plugin folder absent cannot be used"]),
        (vec!["--secrets", "absent"], vec!["the folder of secrets absent cannot be used"]),
        (vec!["--admin", "0.0.0.0:1"], vec!["can be reached from elsewhere: set a token"]),
        (vec!["--data", "/proc/self"], vec!["/proc/self is the kernel's own"]),
        (vec!["--data", &link], vec!["is a link that cannot be followed"]),
        (vec!["--data", &below], vec!["cannot be made, since", "is no folder"]),
        (vec!["--data", &newer], vec!["host.db has format 99"]),
        (
            vec!["--data", &other],
            vec!["bus.db cannot be opened: it was not made by hotdock: bring it back"],
        ),
        (
            vec!["--data", &broken],
            vec!["bus.db cannot be opened: file is not a database: bring it back"],
        ),
        (vec!["--data", &damaged], vec!["host.db is damaged (file is not a database): bring"]),
        (vec!["--data", "/"], vec!["the data folder / has files"]),
        (vec!["--data", "plugins"], vec!["the data folder cannot be the plugin folder"]),
        (vec!["--data", file], vec!["is no folder"]),
        (vec!["--listen", "127.0.0.1:8081"], vec!["cannot have the same port, 127.0.0.1:8081"]),
        (vec!["--listen", ":8081"], vec!["cannot have the same port, 0.0.0.0:8081 and"]),
        (vec!["--config", file], vec!["webhook a: secret-file nosuch: No such file"]),
        (
            vec!["--config", file, "--data", "/", "--secrets", "absent"],
            vec!["secret-file nosuch", "the data folder /", "the folder of secrets"],
        ),
    ] {
        let (code, checked) = up(&[vec!["--check"], arguments.clone()].concat());
        assert_eq!(code, Some(3), "{arguments:?}: {checked}");
        let (code, said) = up(&arguments);
        assert_eq!(code, Some(3), "{arguments:?}: {said}");
        assert_eq!(checked, said, "{arguments:?}");
        for reason in reasons {
            assert!(checked.contains(reason), "{arguments:?}: {checked}");
        }
    }
}

#[tokio::test]
async fn the_data_folder_is_the_hosts_alone() {
    let host = Host::builder().plugin("cart").start().await;
    let mut open = Vec::new();
    let mut folders = vec![host.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.permissions().mode() & 0o077 != 0 {
                open.push(entry.path());
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert_eq!(open, Vec::<std::path::PathBuf>::new());
    let mode = std::fs::metadata(host.data()).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_hangup_has_the_token_read_anew() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "correct-horse-battery").expect("written");
    let file = token.path().to_str().expect("text").to_owned();
    let host =
        Host::builder().argument("--token-file").argument(&file).file("hello.wasm", hello(1));
    let host = host.start().await;
    let status = async |token: &str| {
        let request = Request::get(host.admin_url("/v1/services"));
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        host.send(request.body(Full::default()).expect("a request")).await.status
    };
    assert_eq!(status("correct-horse-battery").await, 200);
    std::fs::write(token.path(), "another-horse-battery").expect("written");
    host.signal("HUP");
    eventually("the new token is good", async || {
        (status("another-horse-battery").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("correct-horse-battery").await, 401);
    host.until_logged("read anew (SIGHUP)").await;
    let log = host.log();
    let line = log.lines().find(|line| line.contains("read anew (SIGHUP)")).expect("a line");
    assert!(line.contains("INFO") && line.contains("the admin token"), "{line}");
    assert!(!line.contains("certificates"), "{line}");
    // What is no token leaves it as it was.
    std::fs::write(token.path(), "short").expect("written");
    host.signal("HUP");
    host.until_logged("the settings stay as they were").await;
    assert_eq!(status("another-horse-battery").await, 200);
}

/// Someone replaces it in two steps, and the signal comes in between.
#[tokio::test]
async fn a_settings_file_that_is_gone_takes_no_token_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "correct-horse-battery").expect("written");
    let host = Host::builder()
        .settings(&format!("token-file = {:?}\n", token.to_str().expect("text")))
        .start()
        .await;
    let (file, away) = (settings_of(&host), folder.path().join("away.toml"));
    std::fs::copy(&file, &away).expect("copied");
    std::fs::remove_file(&file).expect("it was there");
    host.signal("HUP");
    host.until_logged("the settings stay as they were").await;
    assert!(host.log().contains("hotdock.toml"), "{}", host.log());
    let reply = host.client.try_request(Method::GET, &host.admin_url("/v1/services"), "").await;
    assert_eq!(reply.expect("an answer").status, 401);
    std::fs::copy(&away, &file).expect("copied");
    host.signal("HUP");
    host.until_logged("read anew (SIGHUP)").await;
}

/// Whoever writes it empties it first; or the line is lost.
#[tokio::test]
async fn settings_that_name_no_token_any_more_take_none_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "correct-horse-battery").expect("written");
    let named = format!("token-file = {:?}\n", token.to_str().expect("text"));
    let host = Host::builder().settings(&named).start().await;
    let file = settings_of(&host);
    let status = async |token: &str| {
        let request = Request::get(host.admin_url("/v1/services"));
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        host.send(request.body(Full::default()).expect("a request")).await.status
    };
    for (hangups, text) in [(1, ""), (2, "drain = \"30s\"\n")] {
        std::fs::write(&file, text).expect("written");
        host.signal("HUP");
        eventually("the log says what to do, and what waits", async || {
            let log = host.log();
            let said = |words: [&str; 2]| {
                let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
                lines.count()
            };
            let warned = said(["name no admin token any more (SIGHUP)", "restart the host"]);
            (warned == hangups && said(["restart_for", "token-file"]) == hangups).then_some(())
        })
        .await;
        let open = host.client.try_request(Method::GET, &host.admin_url("/v1/services"), "").await;
        assert_eq!(open.expect("an answer").status, 401, "{text:?}");
        assert_eq!(status("correct-horse-battery").await, 200, "{text:?}");
    }
    // Another one is taken as ever.
    std::fs::write(&token, "another-horse-battery").expect("written");
    std::fs::write(&file, named).expect("written");
    host.signal("HUP");
    eventually("the new token is good", async || {
        (status("another-horse-battery").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("correct-horse-battery").await, 401);
}

#[test]
fn a_token_in_the_environment_wins_over_the_settings_and_a_flag_over_both() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    std::fs::write(folder.path().join("token"), "correct-horse-battery").expect("written");
    let settings = folder.path().join("hotdock.toml");
    let up = |arguments: &[&str], token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        command.arg("up").args(arguments).current_dir(folder.path()).env("HOTDOCK_TOKEN", token);
        let output = command.env_remove("HOTDOCK_TOKEN_FILE").output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for text in ["", "token-file = \"token\"\n"] {
        std::fs::write(&settings, text).expect("written");
        for arguments in [&["--check"][..], &[]] {
            let (code, said) = up(arguments, "abc");
            assert!(code == Some(7) && said.contains("HOTDOCK_TOKEN: a token has"), "{said}");
        }
        let (code, said) = up(&["--check", "--token-file", "token"], "abc");
        assert_eq!(code, Some(0), "{said}");
    }
    // What the settings name is not looked at then.
    std::fs::write(&settings, "token-file = \"absent\"\n").expect("written");
    let (code, said) = up(&["--check"], "correct-horse-battery");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = up(&["--check", "--token-file", "absent"], "correct-horse-battery");
    assert!(code == Some(3) && said.contains("absent"), "{said}");
    // A wrong one is as wrong in a file.
    std::fs::write(folder.path().join("short"), "abc").expect("written");
    for arguments in [&["--check", "--token-file", "short"][..], &["--token-file", "short"]] {
        let (code, said) = up(arguments, "correct-horse-battery");
        assert!(code == Some(7) && said.contains("short (--token-file, "), "{said}");
    }
}

#[tokio::test]
async fn a_hangup_does_not_wait_for_a_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "correct-horse-battery").expect("written");
    let argument = file.to_str().expect("text");
    let host = Host::builder().argument("--token-file").argument(argument).start().await;
    for (path, name) in [(file.clone(), "token"), (settings_of(&host), "hotdock.toml")] {
        let before = std::fs::read(&path).ok();
        _ = std::fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        host.signal("HUP");
        eventually(&format!("{name} is refused"), async || {
            let log = host.log();
            let mut lines = log.lines().filter(|line| line.contains("stay as they were"));
            lines.find(|line| line.contains(name) && line.contains("it is a pipe")).map(drop)
        })
        .await;
        std::fs::remove_file(&path).expect("a pipe");
        before.into_iter().for_each(|text| std::fs::write(&path, text).expect("written"));
    }
    // The next signal is heard.
    host.signal("HUP");
    host.until_logged("read anew (SIGHUP)").await;
    for name in ["token", "hotdock.toml"] {
        let pipe = folder.path().join(format!("pipe-{name}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let pipe = pipe.to_str().expect("text");
        let flag = if name == "token" { "--token-file" } else { "--config" };
        let (code, said) = up(&["--check", flag, pipe]);
        assert!(code == Some(3) && said.contains("it is a pipe"), "{said}");
    }
}

fn settings_of(host: &Host) -> std::path::PathBuf {
    host.plugins().with_file_name("hotdock.toml")
}

#[tokio::test]
async fn a_host_whose_log_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let mut host = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "debug"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    // Its first line says that it listens; then nobody reads on.
    let mut log = std::io::BufReader::new(host.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut log, &mut line).expect("a line");
        assert!(read > 0, "it ended");
    }
    drop(log);
    let (_, admin) = line.split_once("admin=").expect("its address");
    let admin = admin.split_whitespace().next().expect("an address").to_owned();
    std::fs::write(plugins.join("hello.wasm"), hello(1)).expect("a component");
    let client = crate::harness::client::Client::new();
    eventually("it is deployed all the same", async || {
        let url = format!("http://{admin}/v1/services/hello");
        let reply = client.try_request(Method::GET, &url, "").await.ok()?;
        (reply.status == 200 && reply.json()["serving"]["version"] == 1).then_some(())
    })
    .await;
    host.kill().expect("it runs");
    host.wait().expect("it ends");
}

#[tokio::test]
async fn who_changed_the_traffic_is_logged() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello?canary=10", &hello(2), "", "running").await;
    host.until_shared("hello").await;
    let by = async |method: Method, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(host.admin_url(path));
        let request = request.header("from", "ann").header("content-type", "application/json");
        let body = Full::new(bytes::Bytes::from(body.to_owned()));
        let reply = host.send(request.body(body).expect("a request")).await;
        assert!(reply.status.is_success(), "{reply:?}");
    };
    by(Method::POST, "/v1/services/hello/promote", "{}").await;
    let plan = r#"{"versions":[{"version":1,"weight":40},{"version":2,"weight":60}]}"#;
    by(Method::PUT, "/v1/services/hello/traffic", plan).await;
    by(Method::POST, "/v1/services/hello/rollback", "{}").await;
    by(Method::DELETE, "/v1/services/hello", "").await;
    for what in ["promoted", "shared", "rolled back", "undeployed"] {
        eventually(&format!("{what} by ann"), async || {
            let log = host.log();
            let mut lines = log.lines();
            lines.find(|line| line.contains(what) && line.contains("\"who\":\"ann\"")).map(drop)
        })
        .await;
    }
}

#[tokio::test]
async fn a_rollback_calls_off_what_is_on_its_way() {
    let host = Host::builder().file("hello.wasm", hello(1)).plugin("probe").start().await;
    let (component, manifest) = acting("version = \"2\"", "health = \"/probe/sleep?ms=2000\"");
    let reply = upload(&host, "probe", &component, &manifest).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    until_step(&host, &id, "warming").await;
    let back = ask(&host, Method::POST, "/v1/services/probe/rollback", Value::Null).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(back.json()["serving"]["version"], 1, "{back:?}");
    let ended = until_state(&host, &id, "superseded").await;
    assert_eq!(ended["reasons"][0], "an operator called it off", "{ended}");
    assert_eq!(host.service("probe").await["serving"]["version"], 1);
}

#[tokio::test]
async fn a_rollback_leaves_the_traffic_where_something_is_on_its_way_and_the_next_moves_it() {
    let host = Host::builder().plugin("probe").start().await;
    let (component, manifest) = acting("version = \"2\"", "");
    deploy(&host, "probe", &component, &manifest, "serving").await;
    let revision = host.service("probe").await["revision"].clone();
    let (component, manifest) = acting("version = \"3\"", "health = \"/probe/sleep?ms=2000\"");
    let reply = upload(&host, "probe", &component, &manifest).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    until_step(&host, &id, "warming").await;
    let rollback = async || {
        let back = ask(&host, Method::POST, "/v1/services/probe/rollback", Value::Null).await;
        assert_eq!(back.status, 200, "{back:?}");
        assert!(back.headers.contains_key("etag"), "{back:?}");
        back.json()
    };
    let first = rollback().await;
    assert_eq!((&first["called_off"][0], &first["traffic_moved"]), (&json!(id), &json!(false)));
    assert_eq!((&first["serving"]["version"], &first["revision"]), (&json!(2), &revision));
    // At once: what is called off is not called off again.
    let second = rollback().await;
    assert!(second["called_off"].is_null(), "{second}");
    assert_eq!(second["serving"]["version"], 1, "{second}");
    assert_eq!(second["traffic_moved"], true, "{second}");
    until_state(&host, &id, "superseded").await;
    assert_eq!(host.service("probe").await["serving"]["version"], 1);
}

#[tokio::test]
async fn a_promotion_that_changes_nothing_counts_for_no_change() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let revision = host.service("hello").await["revision"].clone();
    let done = ask(&host, Method::POST, "/v1/services/hello/promote", Value::Null).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["revision"], revision, "{done:?}");
    assert!(!host.log().contains("promoted"), "{}", host.log());
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_what_serves_goes_on() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    std::fs::create_dir(host.plugins().join("folder.wasm")).expect("a folder");
    assert!(host.until_refused("folder.wasm").await.contains("it is a folder"));
    let fifo = host.plugins().join("hello.wasm");
    std::fs::remove_file(&fifo).expect("a file");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    assert!(host.until_refused("hello.wasm").await.contains("it is a pipe"));
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000001");
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_refused_until_it_leads_somewhere() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let (at, elsewhere) = (|name: &str| host.plugins().join(name), host.data());
    symlink(elsewhere.join("one.wasm"), at("one.wasm")).expect("a link");
    assert!(host.until_refused("one.wasm").await.contains("it is a link that leads nowhere"));
    // What it leads to is outside of the folder: it is found by a look around.
    std::fs::write(elsewhere.join("one.wasm"), hello(7)).expect("a file");
    host.until_version("one", 1).await;
    symlink(elsewhere.join("two.toml"), at("hello.toml")).expect("a link");
    let said = host.until_refused("hello.wasm").await;
    assert!(said.contains("hello.toml could not be read: it is a link that"), "{said}");
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000001");
    host.remove_file("hello.toml");
    eventually("nothing is refused", async || {
        let status = host.status().await;
        status["files"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000001");
}

#[tokio::test]
async fn a_file_that_goes_during_an_upload_that_is_refused_takes_its_service_along() {
    let host = Host::builder().plugin("probe").start().await;
    let bad = "slow = \"2000\", fail = \"100\"";
    let (component, manifest) = acting(bad, "health = \"/probe/act\"");
    let reply = upload(&host, "probe", &component, &manifest).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    until_step(&host, &id, "warming").await;
    host.remove_file("probe.wasm");
    until_state(&host, &id, "refused").await;
    eventually("it is gone", async || (host.get("/probe/act").await.status == 404).then_some(()))
        .await;
}

#[tokio::test]
async fn metrics_are_what_is_asked_for() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let scrape = async |accept: &str| {
        let request = Request::get(host.admin_url("/metrics")).header("accept", accept);
        host.send(request.body(Full::default()).expect("a request")).await
    };
    let plain = scrape("text/plain;version=0.0.4").await;
    assert!(plain.header("content-type").starts_with("text/plain"), "{plain:?}");
    assert!(plain.text().contains("# TYPE hotdock_requests_total counter\n"));
    assert!(!plain.text().contains("# EOF"));
    let open = scrape("*/*").await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_name_with_underscores_is_a_service_and_a_packed_one_keeps_its_name() {
    let host = Host::builder().file("seen_it.wasm", hello(1)).start().await;
    host.until_version("seen-it", 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("one.wasm"), hello(1)).expect("written");
    std::fs::write(path("one.toml"), "[limits]\nmemory = \"8MiB\"").expect("written");
    let packed = hotdock(&host, &["pack", &path("one.wasm"), "-o", &path("other.wasm")]);
    assert!(packed.status.success(), "{packed:?}");
    assert!(hotdock(&host, &["deploy", &path("other.wasm")]).status.success());
    host.until_version("one", 1).await;
    std::fs::write(path("plain.wasm"), hello(1)).expect("written");
    assert!(hotdock(&host, &["deploy", &path("plain.wasm"), "--name", "two"]).status.success());
    host.until_version("two", 1).await;
}
