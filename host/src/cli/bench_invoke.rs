//! `hotdock bench-invoke`

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Uri};

use super::console;
use crate::bench::{Asked, Compiled, Report, Row, count, stages};
use crate::config::{LogFormat, OutboundConfig};
use crate::deploy::{Compiler, DeployConfig};
use crate::escape;
use crate::outbound::Outbound;
use crate::runtime::{Processor, Runtime, RuntimeOptions};
use crate::telemetry::{self, Logs};

/// Instances that there may be while instructions are counted: valgrind has too few
/// addresses for a host's thousand.
const FEW_INSTANCES: u32 = 4;

/// A body is in memory all the while.
const MAX_BODY_BYTES: u64 = 256 << 20;

/// The stages before which a line is left free.
const GROUPS: [&str; 3] = ["instantiate", "transaction-begin", "whole-reused"];

/// What is measured, and how.
const HELP: &str = "\
The component is deployed in a temporary folder, with NAME.toml beside NAME.wasm, and asked \
without a network, one request after the other. What an answer depends on is on the disk before \
it counts. Allocations are those of all threads.";

/// Show what an invocation of a component costs, stage by stage
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct BenchInvoke {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Path and query of the request [default: the first route's path]
    #[arg(long, value_name = "PATH")]
    path: Option<Uri>,
    /// Its method [default: GET, or POST with a body]
    #[arg(long)]
    method: Option<Method>,
    /// Its body
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// How often each stage is run
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one)]
    requests: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Only ask, so often, between two calls of a marker, for valgrind to count what is
    /// done between them; code for any processor, few instances, no ticks
    #[arg(long, value_name = "N", hide = true)]
    count: Option<usize>,
    /// With --count: a fresh instance for each request
    #[arg(long, hide = true, requires = "count")]
    fresh: bool,
}

impl BenchInvoke {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // Warnings only: they say that something else is measured than was meant.
        let _started = telemetry::start(LogFormat::Text, "warn", "off", Logs::new(0))?;
        // One thread asks and answers, so that no wake-up of another is measured.
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tokio = tokio.context("the asynchronous runtime")?;
        tokio.block_on(async {
            match self.count {
                Some(requests) => self.count(requests).await,
                None => self.measure().await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let runtime = runtime(RuntimeOptions::default())?;
        let compiled = self.compiled(&runtime, Processor::This).await?;
        let (reused, fresh) = (compiled.deploy(u32::MAX).await?, compiled.deploy(1).await?);
        let asked = self.asked(reused.path())?;
        let report = stages(&reused, &fresh, &asked, self.requests).await?;
        reused.close().await;
        fresh.close().await;
        if self.json {
            console::json(&serde_json::to_string(&report)?)?;
        } else {
            console::lines(&in_words(&self.file, &report))?;
        }
        Ok(())
    }

    async fn count(&self, requests: usize) -> anyhow::Result<()> {
        let runtime = runtime(RuntimeOptions {
            instances: FEW_INSTANCES,
            ticks: false,
            ..RuntimeOptions::default()
        })?;
        let compiled = self.compiled(&runtime, Processor::Any).await?;
        let subject = compiled.deploy(if self.fresh { 1 } else { u32::MAX }).await?;
        count(&subject, &self.asked(subject.path())?, requests).await?;
        subject.close().await;
        Ok(())
    }

    async fn compiled<'a>(
        &'a self,
        runtime: &'a Runtime,
        processor: Processor,
    ) -> anyhow::Result<Compiled<'a>> {
        // Its own name: where valgrind runs it, /proc/self/exe is valgrind.
        let program = std::env::current_exe().context("this program's name")?;
        let DeployConfig { compile_timeout: limit, .. } = DeployConfig::default();
        let compiler = Compiler { program: &program, limit, processor };
        Compiled::new(runtime, compiler, &self.file).await
    }

    fn asked(&self, first_path: Option<&str>) -> anyhow::Result<Asked> {
        let target = match (&self.path, first_path) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => path.parse().context("the first route's path")?,
            (None, None) => bail!("{} takes no requests", self.file.display()),
        };
        if target.host().is_some() || !target.path().starts_with('/') {
            bail!("--path {target}: a path begins with `/`");
        }
        let body = match &self.body {
            Some(path) => read_body(path).with_context(|| escape::path(path))?,
            None => Vec::new(),
        };
        let default = if self.body.is_some() { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(default);
        Ok(Asked { method, target, body: Bytes::from(body) })
    }
}

/// A request's body, also by a pipe.
fn read_body(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let read = File::open(path)?.take(MAX_BODY_BYTES + 1).read_to_end(&mut body)?;
    if read as u64 > MAX_BODY_BYTES {
        let words = format!("it has more than {MAX_BODY_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(body)
}

fn runtime(options: RuntimeOptions) -> anyhow::Result<Runtime> {
    Ok(Runtime::with(Outbound::new(OutboundConfig::default()), options)?)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|error| format!("{error}"))?;
    if number == 0 { Err("at least 1".to_owned()) } else { Ok(number) }
}

fn in_words(file: &Path, report: &Report) -> Vec<String> {
    let mut rows = vec![
        ["STAGE", "", "    TIME", "    10 % … 90 %", "ALLOCATIONS", "   BYTES"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in &report.rows {
        if GROUPS.contains(&row.stage) {
            rows.push(vec![String::new()]);
        }
        rows.push(cells(row));
    }
    let what = format!(
        "{}: {} is answered {}; medians of {} requests, one after the other",
        file.display(),
        report.request,
        report.status,
        report.requests,
    );
    [vec![what, String::new()], console::table(&rows)].concat()
}

fn cells(row: &Row) -> Vec<String> {
    let time = row.cost.nanoseconds;
    vec![
        row.stage.to_owned(),
        row.what.to_owned(),
        format!("{:>8}", duration(time.median)),
        format!("{:>8} … {:>8}", duration(time.p10), duration(time.p90)),
        format!("{:>11}", row.cost.allocations),
        format!("{:>8}", row.cost.bytes),
    ]
}

/// Nanoseconds with the unit that makes them read best.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn duration(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanoseconds as f64 / 1e3),
        _ => format!("{:.2} ms", nanoseconds as f64 / 1e6),
    }
}
