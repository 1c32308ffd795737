//! `hotdock graph`

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::console;
use super::remote::{Host, Remote};
use super::status::{list, text};
use crate::event::TypePattern;

/// How many of the newest events tell who publishes what.
const NEWEST: usize = 1000;
/// Subscriptions that are asked for at once.
const PAGE: usize = 500;
/// What the source begins with of a service's own events.
const SOURCE: &str = "/services/";

/// Show which services call which, and whose events they get.
///
/// Calls are those of what is deployed: which interfaces a service imports, and which service
/// exports them. Events are those of its subscriptions; who publishes them is known from the
/// newest events on the bus, and else not at all.
#[derive(Debug, clap::Args)]
pub(super) struct GraphCommand {
    #[command(flatten)]
    remote: Remote,
    /// How it is printed: for people, for Mermaid or Graphviz, or as a JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Mermaid,
    Dot,
    Json,
}

/// Services, and what leads from one to another.
#[derive(Debug, Default, Serialize)]
struct Graph {
    services: BTreeSet<String>,
    calls: Vec<Call>,
    events: Vec<Event>,
}

/// A service that imports from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Call {
    from: String,
    /// None where no service exports it.
    to: Option<String>,
    interface: String,
}

/// Events that a service gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Event {
    /// Who publishes them; none where that is not known.
    from: Option<String>,
    to: String,
    /// Their type; the pattern of the subscription where no such event is on the bus.
    #[serde(rename = "type")]
    what: String,
}

impl GraphCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let services = list(&mut host.get("/v1/services").await?.body["services"]);
            let subscriptions = subscriptions(host).await?;
            let newest = format!("/v1/events?limit={NEWEST}");
            let events = list(&mut host.get(&newest).await?.body["events"]);
            let graph = Graph::of(&services, &subscriptions, &events);
            match self.format {
                Format::Text => console::lines(&graph.in_words())?,
                Format::Mermaid => console::lines(&graph.mermaid())?,
                Format::Dot => console::lines(&graph.dot())?,
                Format::Json => console::json(&serde_json::to_string(&graph)?)?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// All subscriptions, page by page.
async fn subscriptions(host: &Host) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/subscriptions?limit={PAGE}{after}");
        let mut page = host.get(&path).await?.body;
        all.extend(list(&mut page["subscriptions"]));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", super::remote::value(next)),
            None => return Ok(all),
        }
    }
}

impl Graph {
    /// Of what a host says of its services, its subscriptions and its newest events.
    fn of(services: &[Value], subscriptions: &[Value], events: &[Value]) -> Self {
        let mut graph = Self::default();
        for service in services {
            let name = text(&service["name"]);
            let uses = service["uses"].as_array().into_iter().flatten();
            graph.calls.extend(uses.map(|used| Call {
                from: name.clone(),
                to: used["from"].as_str().map(str::to_owned),
                interface: text(&used["interface"]),
            }));
            graph.services.insert(name);
        }
        let published = published(events);
        for subscription in subscriptions {
            let name = text(&subscription["name"]);
            let Some((service, _)) = name.split_once('/') else { continue };
            let Some(pattern) = subscription["type"].as_str() else { continue };
            graph.services.insert(service.to_owned());
            let to = service.to_owned();
            graph.events.extend(gets(&to, pattern, &published));
        }
        graph.calls.sort();
        graph.calls.dedup();
        graph.events.sort();
        graph.events.dedup();
        for from in graph.events.iter().filter_map(|event| event.from.clone()) {
            graph.services.insert(from);
        }
        graph
    }

    /// A paragraph per service.
    fn in_words(&self) -> Vec<String> {
        if self.services.is_empty() {
            return vec!["nothing is deployed".to_owned()];
        }
        let paragraph = |service: &String| {
            let mut lines = vec![service.clone()];
            let calls = self.calls.iter().filter(|call| call.from == *service);
            lines.extend(calls.map(|call| match &call.to {
                Some(to) => format!("  calls      {to}: {}", call.interface),
                None => format!("  calls      nobody: no service exports {}", call.interface),
            }));
            let callers = self.calls.iter().filter(|call| call.to.as_ref() == Some(service));
            lines.extend(
                callers.map(|call| format!("  called by  {}: {}", call.from, call.interface)),
            );
            let gets = self.events.iter().filter(|event| event.to == *service);
            lines.extend(gets.map(|event| match &event.from {
                Some(from) => format!("  gets       {} from {from}", event.what),
                None => format!("  gets       {}", event.what),
            }));
            let gives = self.events.iter().filter(|event| event.from.as_ref() == Some(service));
            lines.extend(gives.map(|event| format!("  publishes  {} to {}", event.what, event.to)));
            lines
        };
        self.services.iter().flat_map(paragraph).collect()
    }

    fn mermaid(&self) -> Vec<String> {
        let label = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
        let mut lines = vec!["flowchart LR".to_owned()];
        let ids = self.ids();
        lines.extend(ids.iter().map(|(name, id)| format!("  {id}[\"{}\"]", label(name))));
        for (from, to, words, is_event) in self.edges() {
            let arrow = if is_event { "-.->" } else { "-->" };
            lines.push(format!("  {} {arrow}|\"{}\"| {}", ids[from], label(words), ids[to]));
        }
        lines
    }

    fn dot(&self) -> Vec<String> {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut lines = vec!["digraph services {".to_owned(), "  rankdir=LR;".to_owned()];
        let ids = self.ids();
        lines.extend(ids.iter().map(|(name, id)| format!("  {id} [label={}];", quoted(name))));
        for (from, to, words, is_event) in self.edges() {
            let style = if is_event { ", style=dashed" } else { "" };
            let (from, to, words) = (&ids[from], &ids[to], quoted(words));
            lines.push(format!("  {from} -> {to} [label={words}{style}];"));
        }
        lines.push("}".to_owned());
        lines
    }

    /// What stands for each service, and for what no service is known of: names of services may
    /// be words of the languages that graphs are written in.
    fn ids(&self) -> BTreeMap<&str, String> {
        let unknown =
            self.edges().into_iter().any(|(from, to, ..)| from == UNKNOWN || to == UNKNOWN);
        let unknown = unknown.then_some(UNKNOWN);
        let names = self.services.iter().map(String::as_str).chain(unknown);
        names.enumerate().map(|(index, name)| (name, format!("n{index}"))).collect()
    }

    /// From where, to where, in which words, and whether it is an event.
    fn edges(&self) -> Vec<(&str, &str, &str, bool)> {
        let calls = self.calls.iter().map(|call| {
            let to = call.to.as_deref().unwrap_or(UNKNOWN);
            (call.from.as_str(), to, call.interface.as_str(), false)
        });
        let events = self.events.iter().map(|event| {
            let from = event.from.as_deref().unwrap_or(UNKNOWN);
            (from, event.to.as_str(), event.what.as_str(), true)
        });
        calls.chain(events).collect()
    }
}

/// What stands for a service that is not known. No service can have this name.
const UNKNOWN: &str = "?";

/// The types of events that services published.
fn published(events: &[Value]) -> BTreeSet<(String, String)> {
    let of_services = events.iter().filter_map(|entry| {
        let source = entry["event"]["source"].as_str()?.strip_prefix(SOURCE)?;
        Some((source.to_owned(), entry["event"]["type"].as_str()?.to_owned()))
    });
    of_services.collect()
}

/// The events that come to a service by a pattern of its.
fn gets(to: &str, pattern: &str, published: &BTreeSet<(String, String)>) -> Vec<Event> {
    let fits = |kind: &str| pattern.parse::<TypePattern>().is_ok_and(|fits| fits.matches(kind));
    let known = published.iter().filter(|(_, kind)| fits(kind));
    let known: Vec<_> = known
        .map(|(from, kind)| Event {
            from: Some(from.clone()),
            to: to.to_owned(),
            what: kind.clone(),
        })
        .collect();
    if known.is_empty() {
        return vec![Event { from: None, to: to.to_owned(), what: pattern.to_owned() }];
    }
    known
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph() -> Graph {
        let services = [
            json!({"name": "cart"}),
            json!({"name": "order", "uses": [
                {"interface": "shop:cart/carts@1.0.0", "from": "cart"},
                {"interface": "shop:stock/stock@1.0.0", "problem": "it waits"},
            ]}),
        ];
        let subscriptions = [
            json!({"name": "order/checked-out", "type": "shop.cart.*"}),
            json!({"name": "order/stock", "type": "shop.stock.>"}),
            json!({"name": "order/gone", "type": null}),
        ];
        let event = |source: &str, kind: &str| json!({"event": {"source": source, "type": kind}});
        let events = [
            event("/services/cart", "shop.cart.checked-out"),
            event("/services/cart", "shop.cart.checked-out"),
            event("https://elsewhere", "shop.stock.low"),
        ];
        Graph::of(&services, &subscriptions, &events)
    }

    #[test]
    fn it_is_told_in_words() {
        let expected = [
            "cart",
            "  called by  order: shop:cart/carts@1.0.0",
            "  publishes  shop.cart.checked-out to order",
            "order",
            "  calls      nobody: no service exports shop:stock/stock@1.0.0",
            "  calls      cart: shop:cart/carts@1.0.0",
            "  gets       shop.stock.>",
            "  gets       shop.cart.checked-out from cart",
        ];
        assert_eq!(graph().in_words(), expected);
        assert_eq!(Graph::default().in_words(), ["nothing is deployed"]);
    }

    #[test]
    fn it_is_written_for_programs_that_draw() {
        let expected = [
            "flowchart LR",
            "  n2[\"?\"]",
            "  n0[\"cart\"]",
            "  n1[\"order\"]",
            "  n1 -->|\"shop:stock/stock@1.0.0\"| n2",
            "  n1 -->|\"shop:cart/carts@1.0.0\"| n0",
            "  n2 -.->|\"shop.stock.>\"| n1",
            "  n0 -.->|\"shop.cart.checked-out\"| n1",
        ];
        assert_eq!(graph().mermaid(), expected);
        let dot = graph().dot().join("\n");
        assert!(dot.contains("n1 -> n0 [label=\"shop:cart/carts@1.0.0\"];"), "{dot}");
        assert!(dot.contains("n0 -> n1 [label=\"shop.cart.checked-out\", style=dashed];"), "{dot}");
    }
}
