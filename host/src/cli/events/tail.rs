//! `hotdock events tail`

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Page, moment};
use crate::cli::argument;
use crate::cli::console;
use crate::cli::remote::{Host, Refused, Remote};
use crate::escape;

/// How many events there are at first.
const NEWEST: usize = 10;

/// How many are asked for at once.
const PAGE: usize = 500;

/// How long the host is to wait for the next one, in seconds.
const WAIT: u64 = 30;

/// When it is asked again where it has no place for who waits.
const NO_PLACE: Duration = Duration::from_secs(5);

/// Show the newest events, and go on with what comes.
///
/// A line has an event's position on the bus, when it came there (UTC), its type,
/// its key, and its data.
#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    #[command(flatten)]
    remote: Remote,
    /// Only events of types that fit: `*` is one segment, `>` the rest
    #[arg(long, value_name = "PATTERN")]
    r#type: Option<String>,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Begin behind this position [default: with the newest events]
    #[arg(long, value_name = "POSITION", value_parser = argument::after)]
    after: Option<u64>,
    /// So many of those that are there [default: 10, with --after all]
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = argument::number)]
    limit: Option<usize>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Whether the host only has no place for one more who waits.
fn is_for_now(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(Refused::is_for_now)
}

/// An event of a page.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    position: u64,
    recorded_at: &'a str,
    #[serde(borrow)]
    event: Event<'a>,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    r#type: String,
    id: String,
    subject: Option<String>,
    partitionkey: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let mut next = self.show_those_there(host).await?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            loop {
                let page = match self.page(host, Some(next), PAGE, WAIT).await {
                    Err(error) if is_for_now(&error) => {
                        tokio::time::sleep(NO_PLACE).await;
                        continue;
                    }
                    page => page?,
                };
                page.entries.iter().try_for_each(|entry| self.show(entry))?;
                next = position(&page)?;
            }
        })
    }

    /// Shows what is there. Returns where to go on.
    async fn show_those_there(&self, host: &Host) -> anyhow::Result<u64> {
        let mut room = self.limit.or(self.after.is_none().then_some(NEWEST)).unwrap_or(usize::MAX);
        let mut after = self.after;
        loop {
            // The host's pages have one at the least.
            let page = self.page(host, after, room.clamp(1, PAGE), 0).await?;
            if room == 0 {
                return after.map_or_else(|| position(&page), Ok);
            }
            page.entries.iter().try_for_each(|entry| self.show(entry))?;
            room = room.saturating_sub(page.entries.len());
            let next = position(&page)?;
            let is_last = page.last.is_none_or(|last| next >= last);
            // Without `after` the first page is of the newest: nothing follows it.
            if room == 0 || is_last || after.is_none() {
                return Ok(next);
            }
            after = Some(next);
        }
    }

    async fn page(
        &self,
        host: &Host,
        after: Option<u64>,
        limit: usize,
        wait: u64,
    ) -> anyhow::Result<Page> {
        let parameters = [
            ("after", after.map(|after| after.to_string())),
            ("limit", Some(limit.to_string())),
            ("type", self.r#type.clone()),
            ("wait", (wait > 0).then(|| wait.to_string())),
        ];
        Page::of(host, "/v1/events", &parameters).await
    }

    fn show(&self, entry: &RawValue) -> anyhow::Result<()> {
        if self.json {
            return Ok(console::json(entry.get())?);
        }
        let text = in_words(&serde_json::from_str(entry.get())?);
        Ok(console::print(&console::fit(&text, console::width()))?)
    }
}

fn position(page: &Page) -> anyhow::Result<u64> {
    let next = page.next.as_ref().and_then(Value::as_u64);
    next.ok_or_else(|| anyhow::anyhow!("the host's answer has no `next`"))
}

fn in_words(entry: &Entry<'_>) -> String {
    let Entry { position, recorded_at, event } = entry;
    let key = event.partitionkey.as_ref().or(event.subject.as_ref()).unwrap_or(&event.id);
    let data = match (event.data, &event.data_base64) {
        (Some(data), _) => escape::json(data.get()).into_owned(),
        // Four characters for three bytes.
        (None, Some(text)) => format!("({} bytes)", text.trim_end_matches('=').len() * 3 / 4),
        (None, None) => String::new(),
    };
    let time = moment(recorded_at);
    format!("{position:>6}  {time}  {:<22}  {key:<8}  {data}", event.r#type).trim_end().to_owned()
}
