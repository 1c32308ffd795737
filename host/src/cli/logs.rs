//! `hotdock logs`

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::time::SystemTime;

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::remote::{Host, Remote};
use super::{argument, console};
use crate::telemetry::LogLevel;

/// How many lines there are at first.
const NEWEST: u64 = 100;

/// Fewer are not looked at for who says most of them.
const LEAST_PAGE: u64 = 20;

/// How many are asked for at once.
const PAGE: u64 = 1000;

/// Show what a running host and its services logged.
///
/// What services print and log is among it. The host keeps the newest lines in
/// memory (log-keep), of those that its --log lets through. A line has its time
/// (UTC), how much it matters, who says it or which version it is about, and the text.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    #[command(flatten)]
    remote: Remote,
    /// Only what this service says, or what is about it
    service: Option<String>,
    /// Go on with what comes, until the host stops
    #[arg(long, short)]
    follow: bool,
    /// Begin then: so long ago, as 10m, or at a time, as 2026-01-31T08:00:00Z [default: with the
    /// newest lines]
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// Only what matters at least so much
    #[arg(long, value_name = "LEVEL", default_value = "trace", hide_default_value = true)]
    level: LogLevel,
    /// So many of the newest lines [default: 100, or all since that time]
    #[arg(long, short = 'n', value_name = "COUNT",
          value_parser = argument::count)]
    limit: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A page.
#[derive(Debug, Deserialize)]
struct Page {
    lines: Vec<Box<RawValue>>,
    next: u64,
    last: u64,
}

/// A line of a page or of the stream.
#[derive(Debug, Deserialize)]
struct Line {
    logged_at: String,
    level: LogLevel,
    service: Option<String>,
    version: Option<u64>,
    message: String,
    #[serde(default)]
    fields: Map<String, Value>,
}

/// How many lines the host could not keep until they were read.
#[derive(Debug, Deserialize)]
struct Missed {
    missed: u64,
}

impl Logs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let newest_since = self.since.is_some() && self.limit.is_some();
            if !self.follow {
                self.show(host).await?;
            } else if newest_since {
                let shown = self.show(host).await?;
                self.follow(host, Some(shown)).await?;
            } else {
                self.follow(host, None).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Prints what there is; up to which position that was.
    async fn show(&self, host: &Host) -> anyhow::Result<u64> {
        let mut after = None;
        let mut lines = VecDeque::new();
        let shown = loop {
            let page = host.get(&self.path(after)).await?;
            let page: Page = serde_json::from_slice(&page.text)?;
            lines.extend(page.lines);
            // The host has the first lines since then; the newest of them are the last.
            while self.limit.is_some_and(|limit| lines.len() as u64 > limit) {
                lines.pop_front();
            }
            // Without a beginning the first page is of the newest: nothing follows it.
            if self.since.is_none() || page.next >= page.last {
                break page.next;
            }
            after = Some(page.next);
        };
        if let Some(service) = self.service.as_ref().filter(|_| lines.is_empty()) {
            host.knows(service).await?;
        }
        lines.iter().try_for_each(|line| self.print(line.get()))?;
        if self.service.is_none() && self.since.is_none() && !self.json {
            let lines = lines.iter().filter_map(|line| serde_json::from_str(line.get()).ok());
            let services = lines.filter_map(|line: Line| line.service);
            let most = mostly(services, self.limit.unwrap_or(NEWEST));
            console::notes(&Vec::from_iter(most));
        }
        Ok(shown)
    }

    async fn follow(&self, host: &Host, after: Option<u64>) -> anyhow::Result<()> {
        // Nothing would ever come of one that there is not.
        if let Some(service) = &self.service {
            let page: Page = serde_json::from_slice(&host.get(&self.path(after)).await?.text)?;
            if page.lines.is_empty() {
                host.knows(service).await?;
            }
        }
        let mut events = std::pin::pin!(host.follow(&self.path(after)).await?);
        while let Some(event) = events.try_next().await? {
            match event.event.as_str() {
                "line" => self.print(&event.data)?,
                "missed" if self.json => console::json(&event.data)?,
                "missed" => {
                    let Missed { missed } = serde_json::from_str(&event.data)?;
                    console::print(&format!(
                        "… {missed} lines were gone before they could be read"
                    ))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, after: Option<u64>) -> String {
        let limit = if self.since.is_some() { PAGE } else { self.limit.unwrap_or(NEWEST) };
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        query.append_pair("level", &self.level.to_string());
        query.extend_pairs(self.service.iter().map(|service| ("service", service)));
        query.extend_pairs(self.since.iter().map(|since| ("since", since)));
        query.extend_pairs(after.iter().map(|after| ("after", after.to_string())));
        format!("/v1/logs?{}", query.finish())
    }

    fn print(&self, line: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(console::json(line)?);
        }
        Ok(console::print(&in_words(&serde_json::from_str(line)?))?)
    }
}

/// What is said of a full page that is one service's for the most part.
fn mostly(services: impl Iterator<Item = String>, page: u64) -> Option<String> {
    let mut by_name = BTreeMap::<String, u64>::new();
    services.for_each(|service| *by_name.entry(service).or_default() += 1);
    let (service, lines) = by_name.into_iter().max_by_key(|(_, lines)| *lines)?;
    (page >= LEAST_PAGE && lines * 4 >= page * 3).then(|| {
        format!(
            "({lines} of the newest {page} lines are {service}'s; what others said before is \
             kept, too: name another service, say --level warn for what matters more, or --since \
             10m or -n 1000 for more lines)"
        )
    })
}

fn in_words(line: &Line) -> String {
    // `2026-01-31T08:00:00.123Z` as `01-31 08:00:00.123`.
    let time = line.logged_at.get(5..23).unwrap_or(&line.logged_at).replace('T', " ");
    let who = match (&line.service, line.version) {
        (Some(service), Some(version)) => format!("{service} v{version}"),
        (Some(service), None) => service.clone(),
        (None, _) => "-".to_owned(),
    };
    let level = line.level.to_string().to_uppercase();
    let mut text = format!("{time}  {level:<5}  {who:<12}  {}", line.message);
    for (name, value) in &line.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("  {name}={value}"));
    }
    text
}

/// As the host reads it.
fn since(text: &str) -> Result<String, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let time = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        let time = time.max(SystemTime::UNIX_EPOCH);
        return Ok(humantime::format_rfc3339_millis(time).to_string());
    }
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a duration such as 10m, or a time such as 2026-01-31T08:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_so_long_ago_or_a_time() {
        assert_eq!(since("2026-01-31T08:00:00Z").as_deref(), Ok("2026-01-31T08:00:00Z"));
        let ago = since("10m").expect("a duration");
        assert!(chrono::DateTime::parse_from_rfc3339(&ago).is_ok(), "{ago}");
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_page_that_is_mostly_one_services_is_told_to_be() {
        let lines = |cart: usize, shop: usize| {
            let cart = std::iter::repeat_n("cart".to_owned(), cart);
            cart.chain(std::iter::repeat_n("shop".to_owned(), shop))
        };
        let told = mostly(lines(80, 20), 100).expect("most of them");
        assert!(told.starts_with("(80 of the newest 100 lines are cart's;"), "{told}");
        for other in ["--level warn", "--since 10m", "-n 1000"] {
            assert!(told.contains(other), "{told}");
        }
        assert_eq!(mostly(lines(60, 40), 100), None);
        assert_eq!(mostly(lines(30, 0), 100), None, "all that there is");
        assert_eq!(mostly(lines(5, 0), 5), None, "few were asked for");
    }

    #[test]
    fn a_line_is_in_words() {
        let line = serde_json::json!({
            "position": 1, "logged_at": "2026-01-31T08:00:00.123Z", "level": "warn",
            "target": "guest", "service": "cart", "version": 3, "message": "a\u{1b}[2Jb",
            "fields": { "left": 7, "stream": "stdout" }
        });
        let line: Line = serde_json::from_value(line).expect("a line");
        let expected =
            "01-31 08:00:00.123  WARN   cart v3       a\u{1b}[2Jb  left=7  stream=stdout";
        assert_eq!(in_words(&line), expected);
    }
}
