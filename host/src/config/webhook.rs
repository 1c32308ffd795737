//! `[[webhook]]`: events that go out by HTTP.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::events::patterns;
use super::value::duration;
use crate::event::TypePattern;
use crate::manifest::{Backoff, StartPosition};

/// How long a webhook's name may be, in bytes.
const MAX_NAME_BYTES: usize = 63;

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
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(deserialize_with = "url")]
    url: Uri,
    #[serde(deserialize_with = "some_patterns")]
    types: Vec<TypePattern>,
    #[serde(default)]
    from: FileStart,
    #[serde(default)]
    mode: WebhookMode,
    secret_file: Option<PathBuf>,
    #[serde(default = "yes")]
    handshake: bool,
    #[serde(default, deserialize_with = "origin")]
    origin: Option<String>,
    rate: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    attempts: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "backoff")]
    backoff: FileBackoff,
    concurrency: Option<NonZeroU32>,
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
    #[serde(deserialize_with = "duration")]
    first: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    max: Option<Duration>,
}

impl FileWebhook {
    pub(super) fn resolve(self) -> WebhookConfig {
        WebhookConfig {
            name: self.name,
            url: self.url,
            types: self.types,
            from: match self.from {
                FileStart::Now => StartPosition::Now,
                FileStart::Beginning => StartPosition::Beginning,
            },
            mode: self.mode,
            secret_file: self.secret_file,
            handshake: self.handshake,
            origin: self.origin.unwrap_or_else(machine),
            rate: self.rate,
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            attempts: self.attempts.map_or(8, NonZeroU32::get),
            backoff: Backoff::between(self.backoff.first, self.backoff.max),
            concurrency: self.concurrency.map_or(16, |limit| limit.get() as usize),
        }
    }
}

/// All of the file's webhooks; no two may share a cursor.
pub(super) fn webhooks<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<FileWebhook>, D::Error> {
    let webhooks = Vec::<FileWebhook>::deserialize(deserializer)?;
    let mut names = BTreeSet::new();
    match webhooks.iter().find(|webhook| !names.insert(&webhook.name)) {
        Some(twice) => Err(D::Error::custom(format!("two webhooks are named `{}`", twice.name))),
        None => Ok(webhooks),
    }
}

fn yes() -> bool {
    true
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(fits) {
        return Err(D::Error::custom(format!(
            "`{name}` is no webhook's name: 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -"
        )));
    }
    Ok(name)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uri, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The other parser drops fragments without a word.
    let uri =
        Some(&text).filter(|text| !text.contains('#')).and_then(|text| text.parse::<Uri>().ok());
    let is_whole = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    uri.filter(is_whole).ok_or_else(|| {
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

fn some_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TypePattern>, D::Error> {
    let patterns = patterns(deserializer)?;
    if patterns.is_empty() {
        return Err(D::Error::custom("a webhook has at least one type pattern; `>` is every type"));
    }
    Ok(patterns)
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
            (format!("{LEAST}rate = 0\n"), "5:8", "nonzero"),
            (format!("{LEAST}mode = \"both\"\n"), "5:8", "found: `both`"),
            (
                format!("{LEAST}backoff = {{ first = \"1m\", max = \"30s\" }}\n"),
                "5:11",
                "`first` (1m) is longer than `max` (30s)",
            ),
            (format!("{LEAST}timeout = \"soon\"\n"), "5:11", "`soon` is no duration"),
            (format!("{LEAST}origin = \"a b\"\n"), "5:10", "`a b` is no DNS name"),
            (format!("{LEAST}{LEAST}"), "1:1", "two webhooks are named `crm`"),
        ] {
            let error = parsed(&text).expect_err(&text);
            assert!(error.starts_with(&format!("hotdock.toml:{place}: ")), "{text}{error}");
            assert!(error.contains(reason), "{text}{error}");
        }
    }
}
