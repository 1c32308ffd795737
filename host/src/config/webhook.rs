//! `[[webhook]]`: events that go out by HTTP.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::events::patterns;
use super::file::Contradiction;
use super::value::{COUNT, number, time};
use crate::event::TypePattern;
use crate::manifest::{Backoff, StartPosition};

/// How long a webhook's name may be, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Attempts and requests at once, as many as a service's subscription may have.
const MAX_ATTEMPTS: u64 = 1_000;
const MAX_CONCURRENCY: u64 = 10_000;

/// An HTTP endpoint that events are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `name`: what its cursor is known by.
    pub name: String,
    /// `url`: the endpoint, `https` or `http`.
    pub url: Uri,
    /// `types`: patterns, of which one has to match.
    pub types: Vec<TypePattern>,
    /// `from` (now): where it begins when it is new.
    pub from: StartPosition,
    /// `mode` (structured).
    pub mode: WebhookMode,
    /// `secret-file`: the keys that requests are signed with, a line each; without
    /// it they are not signed.
    pub secret_file: Option<PathBuf>,
    /// `handshake` (true): ask the endpoint whether it wants events at all
    /// (CloudEvents HTTP WebHook 1.0.2, §4), before the first one and once a day.
    pub handshake: bool,
    /// `origin` (the machine's name): the DNS name that the endpoint is told.
    pub origin: String,
    /// `rate`: requests a minute at the most; asked for in the handshake.
    pub rate: Option<NonZeroU32>,
    /// `timeout` (10 s): for one request and its answer's head.
    pub timeout: Duration,
    /// `attempts` (8): requests for one event until it is given up.
    pub attempts: u32,
    /// `backoff`.
    pub backoff: Backoff,
    /// `concurrency` (16): requests at once.
    pub concurrency: usize,
}

/// Where an event's attributes are in a request (CloudEvents HTTP binding).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookMode {
    /// With the data in the body, where the signature covers them.
    #[default]
    Structured,
    /// In headers. An event without data is sent in the other mode.
    Binary,
}

/// One `[[webhook]]` of the file.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileWebhook {
    /// Of these three, which one is missing is told of all at once.
    #[serde(default, deserialize_with = "name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "url")]
    url: Option<Uri>,
    #[serde(default, deserialize_with = "some_patterns")]
    types: Option<Vec<TypePattern>>,
    #[serde(default)]
    from: FileStart,
    #[serde(default)]
    mode: WebhookMode,
    secret_file: Option<PathBuf>,
    #[serde(default = "yes")]
    handshake: bool,
    #[serde(default, deserialize_with = "origin")]
    origin: Option<String>,
    #[serde(default, deserialize_with = "number::<_, _, 1, COUNT>")]
    rate: Option<u32>,
    #[serde(default, deserialize_with = "time")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "number::<_, _, 1, MAX_ATTEMPTS>")]
    attempts: Option<u32>,
    #[serde(default, deserialize_with = "backoff")]
    backoff: FileBackoff,
    #[serde(default, deserialize_with = "number::<_, _, 1, MAX_CONCURRENCY>")]
    concurrency: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileStart {
    #[default]
    Now,
    Beginning,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileBackoff {
    #[serde(deserialize_with = "time")]
    first: Option<Duration>,
    #[serde(deserialize_with = "time")]
    max: Option<Duration>,
}

impl FileWebhook {
    /// `None` where something is missing.
    pub(super) fn resolve(self) -> Option<WebhookConfig> {
        Some(WebhookConfig {
            name: self.name?,
            url: self.url?,
            types: self.types?,
            from: match self.from {
                FileStart::Now => StartPosition::Now,
                FileStart::Beginning => StartPosition::Beginning,
            },
            mode: self.mode,
            secret_file: self.secret_file,
            handshake: self.handshake,
            origin: self.origin.unwrap_or_else(machine),
            rate: self.rate.and_then(NonZeroU32::new),
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            attempts: self.attempts.unwrap_or(8),
            backoff: Backoff::between(self.backoff.first, self.backoff.max),
            concurrency: self.concurrency.unwrap_or(16),
        })
    }
}

/// What is missing of the file's webhooks; and no two may share a cursor.
pub(super) fn contradictions(webhooks: &[FileWebhook]) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for (index, webhook) in webhooks.iter().enumerate() {
        let FileWebhook { name, url, types, .. } = webhook;
        let shown =
            name.as_ref().map_or("a webhook".to_owned(), |name| format!("webhook `{name}`"));
        let fields = [("name", name.is_some()), ("url", url.is_some()), ("types", types.is_some())];
        for (field, _) in fields.iter().filter(|(_, is_there)| !is_there) {
            let words = format!("{shown} has no `{field}`");
            found.push(Contradiction::new(format!("webhook.{index}.{field}"), words));
        }
        if name.as_ref().is_some_and(|name| !names.insert(name)) {
            let words = format!("{shown}: one before it has this name; name each one otherwise");
            found.push(Contradiction::new(format!("webhook.{index}.name"), words));
        }
    }
    found
}

fn yes() -> bool {
    true
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(fits) {
        return Err(D::Error::custom(format!(
            "`{name}` is no webhook's name: 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -"
        )));
    }
    Ok(Some(name))
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uri>, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The other parser drops fragments without a word.
    let uri =
        Some(&text).filter(|text| !text.contains('#')).and_then(|text| text.parse::<Uri>().ok());
    let is_whole = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    uri.filter(is_whole).map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is no URL such as https://shop.example/events, without user and fragment"
        ))
    })
}

fn backoff<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FileBackoff, D::Error> {
    let backoff = FileBackoff::deserialize(deserializer)?;
    match (backoff.first, backoff.max) {
        (Some(first), Some(max)) if first > max => Err(D::Error::custom(format!(
            "`first` ({}) is longer than `max` ({}), which no wait is",
            humantime::format_duration(first),
            humantime::format_duration(max)
        ))),
        _ => Ok(backoff),
    }
}

fn some_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<TypePattern>>, D::Error> {
    let patterns = patterns(deserializer)?;
    if patterns.is_empty() {
        return Err(D::Error::custom("a webhook has at least one type pattern; `>` is every type"));
    }
    Ok(Some(patterns))
}

fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let origin = String::deserialize(deserializer)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if origin.is_empty() || !origin.bytes().all(fits) {
        return Err(D::Error::custom(format!("`{origin}` is no DNS name")));
    }
    Ok(Some(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FileConfig, Overrides};

    fn parsed(text: &str) -> Result<Vec<WebhookConfig>, String> {
        let file = FileConfig::parse("hotdock.toml", text).map_err(|error| error.to_string())?;
        Ok(Config::resolve(Overrides::default(), file).webhooks)
    }

    const LEAST: &str =
        "[[webhook]]\nname = \"crm\"\nurl = \"https://crm.example/in\"\ntypes = [\"shop.>\"]\n";

    #[test]
    fn what_a_webhook_leaves_out_has_its_default() {
        let [webhook] = parsed(LEAST).expect("a good file").try_into().expect("one");
        assert_eq!((webhook.name.as_str(), webhook.types.len()), ("crm", 1));
        assert_eq!(webhook.url, "https://crm.example/in");
        assert_eq!((webhook.from, webhook.mode), (StartPosition::Now, WebhookMode::Structured));
        assert_eq!((webhook.handshake, webhook.attempts, webhook.concurrency), (true, 8, 16));
        assert_eq!((webhook.rate, webhook.secret_file), (None, None));
        assert_eq!(webhook.timeout, Duration::from_secs(10));
        assert!(!webhook.origin.is_empty());
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "{LEAST}from = \"beginning\"\nmode = \"binary\"\nsecret-file = \"/run/crm\"\n\
             handshake = false\norigin = \"shop.example\"\nrate = 120\ntimeout = \"3s\"\n\
             attempts = 2\nbackoff = {{ first = \"1s\", max = \"1m\" }}\nconcurrency = 1\n"
        );
        let [webhook] = parsed(&text).expect("a good file").try_into().expect("one");
        assert_eq!((webhook.from, webhook.mode), (StartPosition::Beginning, WebhookMode::Binary));
        assert_eq!(webhook.secret_file, Some(PathBuf::from("/run/crm")));
        assert_eq!((webhook.handshake, webhook.attempts, webhook.concurrency), (false, 2, 1));
        assert_eq!((webhook.origin.as_str(), webhook.rate), ("shop.example", NonZeroU32::new(120)));
        assert_eq!(webhook.timeout, Duration::from_secs(3));
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        assert_eq!(webhook.backoff, backoff);
    }

    #[test]
    fn a_mistake_is_refused_with_its_place() {
        let changed = |from: &str, to: &str| LEAST.replace(from, to);
        for (text, place, reason) in [
            (changed("crm\"\nurl", "CRM\"\nurl"), "2:8", "`CRM` is no webhook's name"),
            (changed("https://crm.example/in", "crm.example"), "3:7", "`crm.example` is no URL"),
            (changed("https://", "ftp://"), "3:7", "is no URL"),
            (changed("https://", "https://me:pw@"), "3:7", "is no URL"),
            (changed("/in", "/in#a"), "3:7", "is no URL"),
            (changed("shop.>", "shop.>.a"), "4:9", "type pattern `shop.>.a`"),
            (changed("\"shop.>\"", ""), "4:9", "at least one type pattern"),
            (changed("types", "type"), "4:1", "did you mean `types`?"),
            (changed("name = \"crm\"\n", ""), "1:1", "has no `name`"),
            (format!("{LEAST}rate = 0\n"), "5:8", "a whole number from 1 to 1000000000"),
            (format!("{LEAST}attempts = 0\n"), "5:12", "a whole number from 1 to 1000"),
            (format!("{LEAST}concurrency = 0\n"), "5:15", "a whole number from 1 to 10000"),
            (format!("{LEAST}timeout = \"0s\"\n"), "5:11", "must be longer than 0s"),
            (format!("{LEAST}timeout = \"1us\"\n"), "5:11", "must be 1ms at the least"),
            (format!("{LEAST}backoff = {{ first = \"0s\" }}\n"), "5:21", "must be longer than 0s"),
            (format!("{LEAST}mode = \"both\"\n"), "5:8", "found: `both`"),
            (
                format!("{LEAST}backoff = {{ first = \"1m\", max = \"30s\" }}\n"),
                "5:11",
                "`first` (1m) is longer than `max` (30s)",
            ),
            (format!("{LEAST}timeout = \"soon\"\n"), "5:11", "`soon` is no duration"),
            (format!("{LEAST}origin = \"a b\"\n"), "5:10", "`a b` is no DNS name"),
            (format!("{LEAST}{LEAST}"), "6:8", "webhook `crm`: one before it has this name"),
        ] {
            let error = parsed(&text).expect_err(&text);
            assert!(error.starts_with(&format!("hotdock.toml:{place}: ")), "{text}{error}");
            assert!(error.contains(reason), "{text}{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_or_missing_of_all_webhooks_is_told_at_once() {
        let text = "[[webhook]]\nname = \"a\"\ntypes = [\"x..y\", \"y..z\"]\n\
                    [[webhook]]\nname = \"B\"\nurl = \"http://b.example/\"\n\
                    [[webhook]]\nurl = \"c.example\"\ntypes = [\"x\"]\n\
                    [[webhook]]\nnam = \"d\"\n[events]\nmax-bytes = 5\n";
        let told = parsed(text).expect_err("wrong");
        let expected = [
            "1:1: webhook `a` has no `url`",
            "3:9: `webhook.types`: type pattern `x..y`",
            "4:1: a webhook has no `types`",
            "5:8: `webhook.name`: `B` is no webhook's name",
            "7:1: a webhook has no `name`",
            "8:7: `webhook.url`: `c.example` is no URL",
            "10:1: a webhook has no `url`",
            "10:1: a webhook has no `types`",
            "11:1: `nam` is no setting; did you mean `name`?",
            "13:13: `events.max-bytes`: it must be 64.0 KiB at the least",
        ];
        assert_eq!(told.lines().count(), expected.len(), "{told}");
        for (line, expected) in told.lines().zip(expected) {
            assert!(
                line.starts_with(&format!("hotdock.toml:{expected}")),
                "{expected} in:\n{told}"
            );
        }
        assert!(told.contains("`y..z`"), "{told}");
    }
}
