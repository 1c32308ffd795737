//! The commands that steer a running host, and their exit codes.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use http::Request;
use http_body_util::Full;
use tempfile::TempDir;

use super::operator::{acting, deploy, hotdock, until_state, until_step, upload};
use crate::harness::{Host, eventually, hello};

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(error))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_deployed_tried_promoted_and_rolled_back() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |number: u32| {
        let path = folder.path().join("hello.wasm");
        std::fs::write(&path, hello(number)).expect("a component");
        path.to_str().expect("text").to_owned()
    };
    let done = |arguments: &[&str]| {
        let output = hotdock(&host, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    assert!(done(&["deploy", &file(1)]).contains("hello v1: 100 % of the traffic"));
    // It comes back on a host that nobody asks anything, with its share in place.
    let tried = done(&["deploy", &file(2), "--canary", "10%"]);
    assert!(tried.contains("hello v2: 10 % of the traffic"), "{tried}");
    assert!(tried.contains("on trial; it stays at 10 % until you decide"), "{tried}");
    assert!(tried.contains("`hotdock promote hello v2` gives it all"), "{tried}");
    let (_, id) = tried.split_once("`hotdock deployments ").expect("what tells how it goes");
    let id = id.split('`').next().expect("an id");
    let shown = done(&["deployments", id]);
    assert!(shown.contains("hello v2") && shown.contains("10 % of the traffic"), "{shown}");
    assert!(done(&["deployments", "hello"]).contains(id));
    assert!(done(&["status"]).contains("10 %"));
    assert!(done(&["traffic", "hello"]).contains("v1 90 %, v2 10 %"));
    assert!(done(&["promote", "hello"]).contains("v2 100 %"));
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
    assert!(done(&["rollback", "hello", "--reason", "too blue"]).contains("v1 100 %"));
    assert!(done(&["versions", "hello"]).contains("rolled back: too blue"));
    let shared = done(&["traffic", "hello", "1=50", "v2=50%", "--sticky", "cookie"]);
    assert!(shared.contains("v1 50 %, v2 50 %") && shared.contains("by cookie"), "{shared}");
    let by_header = done(&["traffic", "hello", "--sticky", "header:cookie"]);
    assert!(by_header.contains("a client stays by the header cookie"), "{by_header}");
    done(&["traffic", "hello", "--sticky", "cookie"]);
    let ruled = done(&["traffic", "hello", "1=100", "2=0", "--rule", "x-beta:yes=2"]);
    assert!(ruled.contains("x-beta: yes goes to v2"), "{ruled}");
    let status = done(&["status"]);
    assert!(status.contains("hello: x-beta: yes goes to v2"), "{status}");
    assert!(status.contains("hello: a client stays by cookie"), "{status}");
    assert!(done(&["undeploy", "hello"]).contains("undeployed"));
    assert_eq!(host.get("/hello").await.status, 404);

    let code = |arguments: &[&str]| hotdock(&host, arguments).status.code();
    assert_eq!(code(&["promote", "hello"]), Some(6));
    assert_eq!(code(&["promote", "hello", "2"]), Some(6), "only a deployment brings it back");
    assert_eq!(code(&["status", "hello"]), Some(6));
    assert_eq!(code(&["promote"]), Some(2));
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, "garbage").expect("a file");
    assert_eq!(code(&["deploy", garbage.to_str().expect("text")]), Some(3));
    for arguments in [
        &["deploy", "absent.wasm"][..],
        &["pack", "absent.wasm"],
        &["check", "absent.wasm"],
        &["inspect", "absent.wasm"],
        &["diff", "absent.wasm", "absent.wasm"],
    ] {
        assert_eq!(code(arguments), Some(3), "{arguments:?}: there is no such file");
    }
    assert_eq!(code(&["status", "--admin", "127.0.0.1:1"]), Some(1));
    assert!(done(&["deploy", &file(3)]).contains("hello v3"));
    assert!(done(&["promote", "hello"]).contains("v3 100 %"), "it has all already");
    done(&["rollback", "hello"]);
    assert_eq!(code(&["promote", "hello"]), Some(5), "v3 lost its traffic");
    done(&["promote", "hello", "3"]);
    for arguments in [
        &["promote", "hello", "9"][..],
        &["rollback", "hello", "9"],
        &["traffic", "hello", "9=100"],
        &["drain", "hello", "9"],
    ] {
        assert_eq!(code(arguments), Some(6), "{arguments:?}: there is no version 9");
    }
    assert_eq!(code(&["rollback", "hello", "3"]), Some(5), "it is not earlier");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_nothing_is_wrong_usage_and_says_what_is_wrong() {
    let host = Host::builder().start().await;
    for (arguments, reason) in [
        (&["deploy", "oci://registry.example/Cart:1"][..], "`Cart` is no repository"),
        (&["deploy", "oci://cart:1"], "names no registry"),
        (&["deploy", "x.wasm", "--name", "Cart"], "lower-case letters"),
        (&["pack", "--pull", "oci://r.example/cart", "-o", "x"], "neither a tag nor a digest"),
        (&["promote", "--", "-cart"], "lower-case letters"),
        (&["rollback", "CART"], "lower-case letters"),
        (&["traffic", "a/b"], "lower-case letters"),
        (&["undeploy", "cart-"], "lower-case letters"),
        (&["drain", "ca rt"], "lower-case letters"),
        (&["status", "Cart"], "lower-case letters"),
        (&["versions", "Cart"], "lower-case letters"),
        (&["drain", "cart", "--within", "abc"], "it is a duration with its unit, such as 30s"),
        (&["logs", "--limit", "many"], "it is a whole number from 1 to 1000"),
        (&["status", "--admin", "http://ann:secret@127.0.0.1:1"], "its token with --token-file"),
    ] {
        let output = hotdock(&host, arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
        let mut named = arguments.iter().rev();
        let named = named.find(|text| !text.starts_with('-') && **text != "x");
        let named = named.expect("what is wrong");
        assert!(text.matches(named).count() <= 1, "it is said once: {text}");
    }
    for command in ["deploy", "promote", "rollback", "traffic", "undeploy"] {
        let help = said(&hotdock(&host, &[command, "--help"]));
        assert!(help.contains("Exit codes:") && help.contains("2  "), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_command_and_not_the_deployment() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(2)).expect("a component");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(["deploy", "--wait", "--canary", "10%,100%"]).arg(&file);
    command.env("HOTDOCK_ADMIN", host.admin_url("")).env_remove("HOTDOCK_TOKEN");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("10 % of the traffic") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
        assert!(read > 0, "it ended");
    }
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(told.expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("goes on without this command"), "{text}");
    let (_, id) = text.split_once("`hotdock deployments ").expect("how to follow it");
    let id = id.split('`').next().expect("an id");
    assert!(text.contains("`hotdock rollback hello`"), "{text}");
    let status = host.service("hello").await;
    assert_eq!(status["canary"]["new"], 2, "{status}");
    assert!(hotdock(&host, &["rollback", "hello"]).status.success());
    until_state(&host, id, "rolled-back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_says_who_brought_it() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(1)).expect("a component");
    for user in [Some("jürgen"), Some(""), None] {
        let mut deploy = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        deploy.arg("deploy").arg(&file).env("HOTDOCK_ADMIN", host.admin_url(""));
        match user {
            Some(user) => deploy.env("USER", user),
            None => deploy.env_remove("USER"),
        };
        let output = deploy.output().expect("it ends");
        assert!(output.status.success(), "{user:?}: {}", said(&output));
    }
    let path = host.admin_url("/v1/services/hello/versions");
    let versions = host.client.try_request(http::Method::GET, &path, "").await;
    let versions = versions.expect("an answer").json();
    // The user's name, where the system has one.
    let name = Command::new("id").arg("-un").output().expect("it ends");
    let name = match name.status.success() {
        true => String::from_utf8_lossy(&name.stdout).trim().to_owned(),
        false => "uid ".to_owned(),
    };
    assert!(versions[0]["who"].as_str().is_some_and(|who| who.starts_with(&name)), "{versions}");
    assert!(versions[1]["who"].is_null(), "{versions}");
    assert_eq!(versions[2]["who"], "j%C3%BCrgen", "{versions}");
    let shown = said(&hotdock(&host, &["versions", "hello"]));
    assert!(
        shown.contains("upload by j%C3%BCrgen") && shown.contains(&format!("upload by {name}")),
        "{shown}"
    );
    // Of a file it is whose it is.
    host.drop_file("hello.wasm", hello(2));
    host.until_version("hello", 4).await;
    let shown = said(&hotdock(&host, &["versions", "hello"]));
    assert!(shown.contains(&format!("hello.wasm by {name}")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_upload_was_refused_is_said_until_the_next() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hello.wasm");
    std::fs::write(&path, hello(1)).expect("a component");
    let manifest = folder.path().join("hello.toml");
    let deploy = |text: &str| {
        std::fs::write(&manifest, text).expect("a manifest");
        hotdock(&host, &["deploy", path.to_str().expect("text"), "--no-wait"])
    };
    let status = || said(&hotdock(&host, &["status"]));
    let reason = "hello: an upload was refused: secret KEY is not supplied";
    for before in ["", "100 %"] {
        let refused = said(&deploy("[capabilities]\nsecrets = [\"KEY\"]\n"));
        until_state(&host, refused.trim(), "refused").await;
        assert!(status().contains(reason) && status().contains(before), "{}", status());
        let alone = hotdock(&host, &["status", "hello"]);
        assert!(alone.status.success() && said(&alone).contains(reason), "{alone:?}");
        let alone = said(&hotdock(&host, &["status", "hello", "--json"]));
        let alone: serde_json::Value = serde_json::from_str(&alone).expect("JSON");
        assert_eq!(alone["deployment"]["state"], "refused", "{alone}");
        let uploads = host.status().await["uploads"].as_array().map(Vec::len);
        assert_eq!(uploads, Some(usize::from(before.is_empty())), "none of a service that serves");
        let shown = said(&hotdock(&host, &["deployments", refused.trim()]));
        assert!(shown.contains("refused\n") && shown.contains("- secret KEY is not"), "{shown}");
        until_state(&host, said(&deploy("")).trim(), "serving").await;
        assert!(!status().contains("refused"), "{}", status());
    }
    let all = said(&hotdock(&host, &["deployments", "--json"]));
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().expect("deployments").len(), 4);
    let code = |which: &str| hotdock(&host, &["deployments", which]).status.code();
    assert_eq!(code("absent"), Some(6));
    assert_eq!(code("01977d3e-0000-7000-8000-000000000000"), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_upload_is_shown_while_it_is_on_its_way() {
    let host = Host::builder().start().await;
    let (component, manifest) = acting("version = \"1\"", "health = \"/probe/sleep?ms=2000\"");
    let reply = upload(&host, "probe", &component, &manifest).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    until_step(&host, &id, "warming").await;
    let shown = said(&hotdock(&host, &["status"]));
    assert!(shown.contains("probe: a candidate is at warming"), "{shown}");
    let shown = hotdock(&host, &["status", "probe", "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_str(&said(&shown)).expect("JSON");
    assert_eq!(shown["candidate"]["deployment"], id, "{shown}");
    until_state(&host, &id, "serving").await;
    let uploads = host.status().await["uploads"].clone();
    assert_eq!(uploads.as_array().map(Vec::len), Some(0), "{uploads}");
}

/// What a command prints on a terminal, 60 columns wide, as it comes.
struct Terminal {
    child: Child,
    folder: TempDir,
}

impl Terminal {
    /// None where there is no `script` to make one.
    fn begin(host: &Host, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let command = format!(
            "stty cols 60 rows 24; exec {} {}",
            env!("CARGO_BIN_EXE_hotdock"),
            arguments.join(" ")
        );
        let child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command])
            .arg(folder.path().join("printed"))
            .env("HOTDOCK_ADMIN", host.admin_url(""))
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        if child.is_err() {
            eprintln!("skipped: there is no script(1)");
        }
        Some(Self { child: child.ok()?, folder })
    }

    fn printed(&self) -> String {
        let printed = std::fs::read(self.folder.path().join("printed")).unwrap_or_default();
        String::from_utf8_lossy(&printed).into_owned()
    }

    async fn until(&self, text: &str) {
        eventually(&format!("{text:?} is shown"), async || {
            self.printed().contains(text).then_some(())
        })
        .await;
    }

    /// All that it printed, once it has ended by itself, as done.
    async fn ended(mut self) -> String {
        let status =
            eventually("it ends", async || self.child.try_wait().expect("its status")).await;
        assert!(status.success(), "{status}: {}", self.printed());
        self.printed()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_status_and_deploy_show_what_goes_on_until_it_is_over() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hello.wasm");
    std::fs::write(&path, hello(2)).expect("a component");
    std::fs::write(folder.path().join("hello.toml"), "[deploy]\ncanary = { pause = \"1h\" }\n")
        .expect("a manifest");
    let Some(deploy) = Terminal::begin(&host, &["deploy", path.to_str().expect("text"), "--wait"])
    else {
        return;
    };
    deploy.until("hello v2: 1 % of the traffic").await;
    let status = Terminal::begin(&host, &["status"]).expect("there is one");
    status.until("hello v2: canary at 1 %, step 1 of 4").await;
    // What there was is wiped away and shown anew.
    let again = "\u{1b}[4F\u{1b}[J\u{1b}[1mSERVICE  VERSION  TRAFFIC  REQUESTS  ERRORS\u{1b}[0m\r\n\
                 hello    v1       99 %     0         0\r\n";
    status.until(again).await;
    let since = |printed: &str| {
        let (_, since) = printed.split_once("1 % of the traffic\r\n").expect("it had its share");
        let shown = since.split("\r\n").filter(|line| line.ends_with(" s"));
        shown
            .map(|line| line.rsplit("  ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("it shows how long it waits", async || {
        (since(&deploy.printed()).len() >= 2).then_some(())
    })
    .await;
    assert!(hotdock(&host, &["promote", "hello"]).status.success());
    let deploy = deploy.ended().await;
    assert!(deploy.contains("hello v2: 100 % of the traffic"), "{deploy:?}");
    let mut seconds = since(&deploy);
    seconds.dedup();
    assert_eq!(seconds, since(&deploy), "each is shown once: {deploy:?}");
    let status = status.ended().await;
    let last = status.rsplit("\u{1b}[J").next().expect("a screen");
    assert!(last.contains("hello    v2       100 %") && !last.contains("canary"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_a_header_go_where_its_rule_says_also_after_a_restart() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello?canary=false", &hello(2), "", "serving").await;
    let set = hotdock(&host, &["traffic", "hello", "1=100", "2=0", "--rule", "x-beta:yes=2"]);
    assert!(set.status.success(), "{}", said(&set));
    for start in ["set", "restored"] {
        for (value, marker) in [("yes", "2"), ("no", "1"), ("", "1")] {
            let request = Request::get(host.url("/hello")).header("x-beta", value);
            let reply = host.send(request.body(Full::default()).expect("a request")).await;
            let expected = format!("VERSION-0000000{marker}");
            assert_eq!(reply.header("x-version"), expected, "{value}, once it is {start}");
        }
        host.kill();
        host.start().await;
    }
    let set = hotdock(&host, &["traffic", "hello", "--no-rules"]);
    assert!(!said(&set).contains("x-beta"), "{}", said(&set));
    let request = Request::get(host.url("/hello")).header("x-beta", "yes");
    let reply = host.send(request.body(Full::default()).expect("a request")).await;
    assert_eq!(reply.header("x-version"), "VERSION-00000001");
}

/// Whether the program is there and content with this on its standard input.
fn content(program: &str, arguments: &[&str], input: &[u8]) -> Option<bool> {
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.ok()?;
    // One that is not content may end before it has read all.
    _ = child.stdin.take().expect("piped").write_all(input);
    Some(child.wait().expect("its end").success())
}

#[test]
fn shells_take_their_completions() {
    let script = |shell: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hotdock")).args(["completions", shell]).output();
        let output = output.expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell);
        let text = String::from_utf8_lossy(&script);
        assert!(text.contains("rollback") && text.contains("canary"), "{shell}");
        if content(shell, &[check], &script) == Some(false) {
            panic!("{shell} does not take its completions");
        }
    }
    assert!(content("bash", &["-n"], b"if").is_some_and(|content| !content), "bash is there");
    for shell in ["elvish", "powershell"] {
        assert!(!script(shell).is_empty());
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let man = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("man").args(arguments).output();
        let output = output.expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let page = man(&[]);
    assert!(String::from_utf8_lossy(&page).contains("Exit codes"));
    man(&[folder.path().to_str().expect("text")]);
    for name in
        ["hotdock", "hotdock-up", "hotdock-deployments", "hotdock-logs", "hotdock-events-tail"]
    {
        let path = folder.path().join(format!("{name}.1"));
        let page = std::fs::read(&path).unwrap_or_else(|_| panic!("{name}.1 is there"));
        // It says on standard error what it cannot make sense of.
        if let Ok(shown) = Command::new("man").arg("--warnings").arg("-l").arg(&path).output() {
            let (text, warned) = (String::from_utf8_lossy(&shown.stdout), &shown.stderr);
            assert!(text.contains(name) && warned.is_empty(), "{name}: {}", said(&shown));
        }
        assert!(!page.is_empty());
    }
    assert!(!folder.path().join("hotdock-compile.1").exists(), "it is the host's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_address_is_told_from_the_admin_address() {
    let host = Host::builder().start().await;
    let output = hotdock(&host, &["status", "--admin", &host.url("")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("is where a host's services answer"), "{output:?}");
}

#[test]
fn a_version_that_cannot_be_printed_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    let output = command.arg("--version").stdout(full).output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("could not be printed"), "{output:?}");
}

/// Its exit code where whoever reads what it prints has gone before.
fn code_unread(host: &Host, arguments: &[&str]) -> Option<i32> {
    let (reads, writes) = std::io::pipe().expect("a pipe");
    drop(reads);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
    command.args(arguments).env("HOTDOCK_ADMIN", host.admin_url("")).env_remove("HOTDOCK_TOKEN");
    command.stdout(writes).stderr(Stdio::null()).status().expect("it ends").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_changes_no_exit_code() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let (good, garbage) = (put("hello.wasm", &hello(2)), put("garbage.wasm", b"garbage"));
    let (old, new) = (put("old.wasm", &hello(1)), put("new.wasm", &hello(1)));
    let migration = |sql: &str| {
        let manifest = "[service]\nname = \"hello\"\n[[migration]]\nname = \"1\"\n";
        format!("{manifest}sql = \"CREATE TABLE {sql}\"\n")
    };
    put("old.toml", migration("a (b)").as_bytes());
    put("new.toml", migration("a (c)").as_bytes());
    for (arguments, code) in [
        (&["check", &garbage][..], 3),
        (&["check", &garbage, &good], 3),
        (&["check", &good], 0),
        (&["diff", &old, &new], 8),
        (&["diff", &old, &old], 0),
        (&["traffic", "absent"], 6),
        (&["status"], 0),
        (&["versions", "hello"], 0),
        (&["logs"], 0),
        (&["inspect", &good], 0),
    ] {
        assert_eq!(code_unread(&host, arguments), Some(code), "{arguments:?}");
    }
    // It is followed to its end all the same.
    let manifest = folder.path().join("hello.toml");
    std::fs::write(&manifest, "[capabilities]\nsecrets = [\"KEY\"]\n").expect("a manifest");
    assert_eq!(code_unread(&host, &["deploy", "--wait", &good]), Some(3));
    std::fs::remove_file(&manifest).expect("it was there");
    assert_eq!(code_unread(&host, &["deploy", "--wait", &good]), Some(0));
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deployed_is_called_as_it_was_given() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log1");
    let given = path.to_str().expect("text");
    let absent = hotdock(&host, &["deploy", given]);
    assert_eq!(absent.status.code(), Some(3), "{absent:?}");
    assert!(said(&absent).contains(&format!("there is no file {given}")), "{absent:?}");
    std::fs::write(&path, "garbage").expect("a file");
    for arguments in [vec!["deploy", given], vec!["deploy", "--name", "cart", given]] {
        let output = hotdock(&host, &arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains(&format!("{given} cannot be deployed")), "{output:?}");
        assert!(said(&output).contains(&format!("- {given} is not WebAssembly")), "{output:?}");
    }
    // There is no text whose line could be told.
    let bad = folder.path().join("Bad_Name.wasm");
    std::fs::write(&bad, hello(1)).expect("a component");
    let bad = bad.to_str().expect("text");
    let refused = said(&hotdock(&host, &["deploy", bad]));
    let expected = format!("- {bad}: `Bad_Name` cannot name a service");
    assert!(refused.contains(&expected), "{refused}");
    let nameless = upload(&host, "cart", b"", "").await;
    assert!(nameless.text().contains("what is uploaded is empty"), "{nameless:?}");
}

/// The path itself is the host's once it takes events from outside; what is below it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_host_keeps_for_itself_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(1)).expect("a component");
    std::fs::write(folder.path().join("hello.toml"), "[[route]]\npath = \"/events\"\n")
        .expect("a manifest");
    let file = file.to_str().expect("text");
    let closed = Host::builder().start().await;
    let deployed = said(&hotdock(&closed, &["deploy", file]));
    assert!(deployed.contains("100 % of the traffic\n"), "{deployed}");
    assert_eq!(closed.get("/events").await.status, 200, "it takes none");
    let checked = said(&hotdock(&closed, &["check", file]));
    assert!(checked.contains("route /events: on a host that takes events"), "{checked}");
    let open = Host::builder().settings("[events]\naccept = [\"test.>\"]\n").start().await;
    let deployed = said(&hotdock(&open, &["deploy", file]));
    let note = "100 % of the traffic; route /events reaches it only below /events: the host takes";
    assert!(deployed.contains(note), "{deployed}");
    open.until_logged("requests for this path itself never reach the service").await;
    assert_eq!(open.get("/events").await.status, 405);
    assert_eq!(open.get("/events/x").await.status, 200);
}
