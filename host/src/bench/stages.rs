//! Runs each stage by itself, many times, and takes its time.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body_util::BodyExt as _;
use tokio::task::yield_now;
use wasmtime_wasi_http::WasiBody;

use super::asked::{Asked, peer};
use super::laps::{Lap, Laps, Watch};
use super::report::{Report, Row};
use super::subject::Subject;
use crate::allocator::{Counting, counted};
use crate::config::HttpLimits;
use crate::http::client::{Client, Common};
use crate::http::dispatch::route;
use crate::http::idempotency;
use crate::http::request::{self, Fields};
use crate::invocation::{Invocation, Stage, instantiate, invoke_in_stages};
use crate::runtime::{ReplayBody, Unread};
use crate::service::{Service, Ticket};

/// Runs before those that count.
const WARM_UP: usize = 32;

/// Where the transactions that are measured alone read and write.
const BUCKET: &str = "hotdock-bench";

/// What it costs to ask `reused`, whose instances serve many invocations, and the
/// same of `fresh`, which has a new one for each.
///
/// # Errors
/// When a request has no answer.
pub async fn stages(
    reused: &Subject,
    fresh: &Subject,
    asked: &Asked,
    requests: usize,
) -> anyhow::Result<Report> {
    let counting = counted();
    let bench = Bench { counting: &counting, asked, requests };
    let mut rows = Vec::new();
    let status = bench.invocations(reused, &mut rows).await?;
    bench.fresh(fresh, &mut rows).await?;
    bench.transactions(reused, &mut rows).await?;
    rows.push(bench.whole(reused, "whole-reused", "bytes in to bytes out").await?);
    rows.push(bench.whole(fresh, "whole-fresh", "the same, a fresh instance each").await?);
    Ok(Report {
        service: reused.service.name.to_string(),
        request: format!("{} {}", asked.method, asked.target),
        status: status.as_u16(),
        requests,
        rows,
    })
}

struct Bench<'a> {
    counting: &'a Counting,
    asked: &'a Asked,
    requests: usize,
}

/// What the stages of one invocation took.
#[derive(Default)]
struct Taken {
    route: Lap,
    lease: Lap,
    call: Lap,
    commit: Lap,
    response: Lap,
}

impl Bench<'_> {
    /// The stages of a request, from its head to its answer.
    async fn invocations(
        &self,
        subject: &Subject,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<StatusCode> {
        let client = client();
        let host = subject.host();
        let mut laps = [(); 5].map(|()| Laps::of(self.requests));
        let mut answered = StatusCode::OK;
        for each in 0..WARM_UP + self.requests {
            let (status, taken) = self.invocation(subject, &client, &host).await?;
            answered = status;
            if each >= WARM_UP {
                let Taken { route, lease, call, commit, response } = taken;
                for (laps, lap) in laps.iter_mut().zip([route, lease, call, commit, response]) {
                    laps.add(lap);
                }
            }
        }
        let names = [
            ("route", "head checked, service found"),
            ("lease", "admitted, version held"),
            ("call-reused", "guest called, up to its head"),
            ("commit", "transaction ended, durable"),
            ("response", "body collected, instance back"),
        ];
        rows.extend(names.iter().zip(&laps).map(|(name, laps)| row(*name, laps)));
        Ok(answered)
    }

    /// A new instance, and the first call of one.
    async fn fresh(&self, subject: &Subject, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let client = client();
        let host = subject.host();
        let (mut made, mut called) = (Laps::of(self.requests), Laps::of(self.requests));
        let version = subject.version();
        for each in 0..WARM_UP + self.requests {
            let mut watch = Watch::start(self.counting);
            instantiate(version, &subject.service.store).await.context("an instance")?;
            let instantiation = watch.lap();
            let (_, taken) = self.invocation(subject, &client, &host).await?;
            if each >= WARM_UP {
                made.add(instantiation);
                called.add(taken.call);
            }
        }
        rows.push(row(("instantiate", "a fresh instance made"), &made));
        rows.push(row(("call-fresh", "its first call"), &called));
        Ok(())
    }

    /// One request from its head to its answer.
    async fn invocation(
        &self,
        subject: &Subject,
        client: &Client,
        host: &str,
    ) -> anyhow::Result<(StatusCode, Taken)> {
        // As a connection's task does between two requests: what one polls at a time is
        // counted by tokio, and what an earlier one left behind gets its turn.
        yield_now().await;
        let (mut head, body) = (self.asked.head(host), self.asked.body());
        let mut taken = Taken::default();
        let mut watch = Watch::start(self.counting);
        let fields = Fields::of(&head);
        let routed = request::prepare(&mut head, &fields, client)
            .and_then(|()| route(&subject.registry, &head));
        let service = routed.map_err(|problem| refused(self.asked, problem.status()))?;
        taken.route = watch.lap();
        let invocation = admit(subject, &service, head, body).await?;
        taken.lease = watch.lap();
        let answer = invoke_in_stages(invocation, |stage| {
            let lap = watch.lap();
            let of = match stage {
                Stage::Call => &mut taken.call,
                Stage::Commit => &mut taken.commit,
                Stage::Response => &mut taken.response,
            };
            *of = of.and(lap);
        });
        let (answer, body) = answer.await.context("the invocation")?.into_parts();
        drop(body.collect().await.context("the answer's body")?);
        taken.response = taken.response.and(watch.lap());
        if answer.status.is_server_error() {
            return Err(refused(self.asked, answer.status));
        }
        Ok((answer.status, taken))
    }

    /// Transactions of the service's store, without a guest.
    async fn transactions(&self, subject: &Subject, rows: &mut Vec<Row>) -> anyhow::Result<()> {
        let mut laps = [(); 3].map(|()| Laps::of(self.requests));
        let store = &subject.service.store;
        for each in 0..WARM_UP + self.requests {
            // Another each time: SQLite writes no page that would stay as it is.
            let value = Bytes::from(each.to_string());
            let mut watch = Watch::start(self.counting);
            let mut transaction = store.begin();
            drop(transaction.get(BUCKET, "key").await?);
            let begun = watch.lap();
            transaction.finish().await?.durable().await?;
            let read = watch.lap();
            let mut transaction = store.begin();
            transaction.set(BUCKET, "key", value).await?;
            _ = watch.lap();
            transaction.finish().await?.durable().await?;
            let written = watch.lap();
            if each >= WARM_UP {
                for (laps, lap) in laps.iter_mut().zip([begun, read, written]) {
                    laps.add(lap);
                }
            }
        }
        let names = [
            ("transaction-begin", "begun, one key read"),
            ("transaction-commit-read", "ended, nothing written"),
            ("transaction-commit-write", "ended, one pair on the disk"),
        ];
        rows.extend(names.iter().zip(&laps).map(|(name, laps)| row(*name, laps)));
        Ok(())
    }

    /// A request over a connection.
    async fn whole(
        &self,
        subject: &Subject,
        stage: &'static str,
        what: &'static str,
    ) -> anyhow::Result<Row> {
        let bytes = self.asked.bytes(&subject.host());
        let mut client = subject.connect();
        let mut laps = Laps::of(self.requests);
        for each in 0..WARM_UP + self.requests {
            let mut watch = Watch::start(self.counting);
            let status = client.ask(&self.asked.method, &bytes).await?;
            let lap = watch.lap();
            if status.is_server_error() {
                bail!(refused(self.asked, status));
            }
            if each >= WARM_UP {
                laps.add(lap);
            }
        }
        Ok(row((stage, what), &laps))
    }
}

fn client() -> Client {
    Client::new(peer(), Arc::new(Common::new(&HttpLimits::default())))
}

/// What `http::dispatch` does between the route and the invocation.
async fn admit(
    subject: &Subject,
    service: &Arc<Service>,
    head: Parts,
    body: WasiBody,
) -> anyhow::Result<Invocation> {
    let mut ticket = Ticket::default();
    let key = idempotency::scope(&head).map_err(|problem| anyhow!("{}", problem.status()))?;
    let limits = service.traffic.choose(&head, &mut ticket).manifest.limits.clone();
    let permit = service.admission.admit().await?;
    let chosen =
        subject.registry.lease(&service.name, |traffic| Some(traffic.choose(&head, &mut ticket)));
    let (service, lease) = chosen.context("the service has no version")?;
    let body = ReplayBody::new(body, limits.request_body, limits.replay_body, Unread::Drain);
    let (store, metrics) = (Arc::clone(&service.store), Arc::clone(&service.metrics));
    Ok(Invocation {
        lease,
        permit,
        store,
        metrics,
        head: Arc::new(head),
        body,
        key,
        ticket: Ticket::default(),
        lineage: None,
    })
}

fn row((stage, what): (&'static str, &'static str), laps: &Laps) -> Row {
    Row { stage, what, cost: laps.cost() }
}

fn refused(asked: &Asked, status: StatusCode) -> anyhow::Error {
    anyhow!("{} {} is answered {status}", asked.method, asked.target)
}
