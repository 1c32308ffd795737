//! `[events]`: what the bus keeps, and what it takes from outside.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::file::Contradiction;
use super::value::{bytes, duration, time};
use crate::bus::BusOptions;
use crate::config::{Opened, SourcePattern};
use crate::event::TypePattern;
use crate::machine;

/// How many of the largest bodies of `POST /events` may be on their way at once; more of smaller
/// ones.
pub const BODIES_AT_ONCE: u64 = 16;

/// What the bus keeps, and what it takes from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsConfig {
    /// Types that anybody may send to `POST /events` of the public listener;
    /// where there are none, nothing is there. The admin listener takes all.
    pub accept: Vec<Opened>,
    /// Bytes of one request's body.
    pub max_body: u64,
    /// See [`BusOptions::retain`].
    pub retain: Duration,
    /// See [`BusOptions::retain_gone`].
    pub retain_gone: Duration,
    /// See [`BusOptions::retain_at_most`].
    pub retain_at_most: Option<Duration>,
    /// See [`BusOptions::max_bytes`].
    pub max_bytes: u64,
    /// See [`BusOptions::max_bytes_per_source`].
    pub max_bytes_per_source: u64,
}

impl Default for EventsConfig {
    fn default() -> Self {
        let bus = BusOptions::default();
        Self {
            accept: Vec::new(),
            max_body: 4 << 20,
            retain: bus.retain,
            retain_gone: bus.retain_gone,
            retain_at_most: bus.retain_at_most,
            max_bytes: bus.max_bytes,
            max_bytes_per_source: bus.max_bytes_per_source,
        }
    }
}

impl EventsConfig {
    /// The bus's limits, as far as the operator sets them.
    #[must_use]
    pub fn bus(&self) -> BusOptions {
        BusOptions {
            retain: self.retain,
            retain_gone: self.retain_gone,
            retain_at_most: self.retain_at_most,
            max_bytes: self.max_bytes,
            max_bytes_per_source: self.max_bytes_per_source,
            ..BusOptions::default()
        }
    }
}

/// `[events]` of the file.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileEvents {
    accept: Vec<FileOpened>,
    #[serde(deserialize_with = "body")]
    max_body: Option<ByteSize>,
    #[serde(deserialize_with = "duration")]
    retain: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    retain_gone: Option<Duration>,
    #[serde(deserialize_with = "time")]
    retain_at_most: Option<Duration>,
    #[serde(deserialize_with = "bytes::<_, LEAST_BUS>")]
    max_bytes: Option<ByteSize>,
    #[serde(deserialize_with = "bytes::<_, LEAST_SOURCE>")]
    max_bytes_per_source: Option<ByteSize>,
}

/// What a source needs to publish events at all.
const LEAST_SOURCE: u64 = 1 << 10;

/// What a bus needs to take events at all.
const LEAST_BUS: u64 = 64 << 10;

/// The largest body that can be read and kept as one text.
const MOST_BODY: u64 = 256 << 20;

/// The size of a body, of which many are held in memory.
fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let Some(size) = bytes::<D, 1>(deserializer)? else { return Ok(None) };
    let memory = machine::memory().map_or(u64::MAX, |bytes| bytes / BODIES_AT_ONCE);
    let most = ByteSize(MOST_BODY.min(memory));
    if size > most {
        return Err(D::Error::custom(format!(
            "it must be {most} at the most, since {BODIES_AT_ONCE} such bodies are held in memory \
             at once; found: {size}"
        )));
    }
    Ok(Some(size))
}

impl FileEvents {
    /// What cannot hold together.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = Contradiction> {
        let default = EventsConfig::default();
        let (each, all) = ("events.max-bytes-per-source", "events.max-bytes");
        let bytes = self.max_bytes.unwrap_or(ByteSize(default.max_bytes));
        let of_sizes = [
            Contradiction::more((each, self.max_bytes_per_source), (all, bytes)),
            // Events of that size would be taken in, and then have no room, ever.
            Contradiction::more(("events.max-body", self.max_body), (all, bytes)),
        ];
        let [retain, most] = ["events.retain", "events.retain-at-most"];
        let least = self.retain.unwrap_or(default.retain);
        let too_short = self.retain_at_most.filter(|most| *most < least).map(|found| {
            let [found, least] = [found, least].map(humantime::format_duration);
            let words = format!("`{most}`: {found} is less than `{retain}`, which is {least}");
            Contradiction::between(most, retain, &words)
        });
        let too_long = self.retain_gone.zip(self.retain_at_most).filter(|(gone, most)| gone > most);
        let too_long = too_long.map(|(found, whole)| {
            let key = "events.retain-gone";
            let [found, whole] = [found, whole].map(humantime::format_duration);
            let words = format!("`{key}`: {found} is more than `{most}`, which is {whole}");
            Contradiction::between(key, most, &words)
        });
        of_sizes.into_iter().chain([too_short, too_long]).flatten()
    }

    pub(super) fn resolve(self) -> EventsConfig {
        let default = EventsConfig::default();
        let bytes = |size: Option<ByteSize>, default| size.map_or(default, |size| size.as_u64());
        let max_bytes = bytes(self.max_bytes, default.max_bytes);
        EventsConfig {
            accept: self.accept.into_iter().map(|FileOpened(opened)| opened).collect(),
            max_body: bytes(self.max_body, default.max_body),
            retain: self.retain.unwrap_or(default.retain),
            retain_gone: self.retain_gone.unwrap_or(default.retain_gone),
            retain_at_most: self.retain_at_most.or(default.retain_at_most),
            max_bytes,
            max_bytes_per_source: bytes(self.max_bytes_per_source, max_bytes / 2),
        }
    }
}

/// A type pattern, or a table of one and the sources that it is bound to.
#[derive(Clone, Debug)]
struct FileOpened(Opened);

/// The table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundType {
    r#type: String,
    source: OneOrMany,
}

/// `"/till"` or `["/till", "/bank"]`.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "`source` is a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for FileOpened {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OpenedVisitor)
    }
}

struct OpenedVisitor;

impl<'de> Visitor<'de> for OpenedVisitor {
    type Value = FileOpened;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type pattern, or { type = \"…\", source = \"…\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FileOpened, E> {
        Ok(FileOpened(Opened { types: pattern(text)?, sources: Vec::new() }))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<FileOpened, M::Error> {
        let bound = BoundType::deserialize(MapAccessDeserializer::new(map))?;
        let sources = match bound.source {
            OneOrMany::One(source) => vec![source],
            OneOrMany::Many(sources) => sources,
        };
        if sources.is_empty() || sources.iter().any(String::is_empty) {
            let reason = format!("`{}` is bound to no source", bound.r#type);
            return Err(M::Error::custom(reason));
        }
        if let Some(source) = sources.iter().find(|source| source.starts_with(OF_SERVICES)) {
            return Err(M::Error::custom(format!(
                "`{source}`: sources from {OF_SERVICES} on are the services' own, and nobody \
                 else's event has one"
            )));
        }
        let sources = sources.iter().map(|source| SourcePattern::from(source.as_str())).collect();
        Ok(FileOpened(Opened { types: pattern(&bound.r#type)?, sources }))
    }
}

/// What the sources of the services' events begin with.
const OF_SERVICES: &str = "/services/";

fn pattern<E: serde::de::Error>(text: &str) -> Result<TypePattern, E> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(E::custom(format!("type pattern `{}`: it has a space", text.escape_debug())));
    }
    text.parse().map_err(|error| E::custom(format!("type pattern `{text}`: {error}")))
}

pub(super) fn patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TypePattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let (patterns, wrong): (Vec<_>, Vec<_>) =
        texts.iter().map(|text| pattern::<serde::de::value::Error>(text)).partition(Result::is_ok);
    let wrong: Vec<_> =
        wrong.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if !wrong.is_empty() {
        return Err(D::Error::custom(wrong.join("; ")));
    }
    Ok(patterns.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, FileConfig, Overrides};

    #[test]
    fn what_the_file_leaves_out_has_its_default() {
        let text = "[events]\naccept = [\"shop.external.*\"]\nmax-body = \"1 MiB\"\nretain = \"2h\"\nmax-bytes = \"1 GiB\"\n";
        let file = FileConfig::parse("hotdock.toml", text).expect("a good file");
        let events = Config::resolve(Overrides::default(), file).events;
        assert_eq!(events.accept.len(), 1);
        assert_eq!((events.max_body, events.max_bytes), (1 << 20, 1 << 30));
        assert_eq!(events.max_bytes_per_source, 1 << 29, "a half");
        assert_eq!(events.bus().retain.as_secs(), 7200);
        assert_eq!(events.retain_gone, Config::default().events.retain_gone);
        assert_eq!(Config::default().events.accept, []);
    }

    #[test]
    fn a_type_is_opened_for_all_sources_or_for_some() {
        let text = "[events]\naccept = [\"a.*\", { type = \"b.*\", source = \"/till\" }, { type = \"c\", source = [\"/x\", \"/y/*\"] }]\n";
        let file = FileConfig::parse("hotdock.toml", text).expect("a good file");
        let accept = Config::resolve(Overrides::default(), file).events.accept;
        let sources: Vec<_> = accept.iter().map(|opened| opened.sources.len()).collect();
        assert_eq!(sources, [0, 1, 2]);
        for (bad, why) in [
            ("[7]", "must be a type pattern"),
            ("[{ type = \"a\" }]", "has no `source`"),
            ("[{ type = \"a\", source = [] }]", "is bound to no source"),
            ("[{ type = \"a\", source = 7 }]", "`source` is a text or a list"),
            ("[{ type = \"a..b\", source = \"/x\" }]", "no empty segments"),
            ("[\"a b\"]", "type pattern `a b`: it has a space"),
            ("[{ type = \"a\", source = \"/services/x\" }]", "are the services' own"),
            ("[{ type = \"a\", sources = \"/x\" }]", "`sources` is no setting"),
        ] {
            let text = format!("[events]\naccept = {bad}\n");
            let error = FileConfig::parse("hotdock.toml", &text).expect_err("bad").to_string();
            assert!(error.starts_with("hotdock.toml:2:") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_bus_without_room_and_times_that_contradict_are_refused_with_their_place() {
        for (text, place, why) in [
            ("max-bytes = \"1B\"", "2:13", "it must be 64.0 KiB at the least; found: 1 B"),
            ("retain-at-most = \"1h\"", "2:18", "1h is less than `events.retain`, which is 1day"),
            ("retain = \"2h\"\nretain-at-most = \"1h\"", "3:18", "which is 2h"),
            (
                "retain-gone = \"3days\"\nretain-at-most = \"2days\"",
                "2:15",
                "3days is more than `events.retain-at-most`, which is 2days: lower the one or raise",
            ),
            (
                "max-bytes-per-source = \"10GiB\"",
                "2:24",
                "10.0 GiB is more than `events.max-bytes`, which is 8.0 GiB: lower the one or raise",
            ),
            ("max-bytes = \"1MiB\"\nmax-body = \"2MiB\"", "3:12", "more than `events.max-bytes`"),
            ("max-bytes-per-source = 0", "2:24", "it must be 1.0 KiB at the least"),
            ("retain-at-most = \"0s\"", "2:18", "it must be longer than 0s"),
            ("max-body = \"1TiB\"", "2:12", "since 16 such bodies are held in memory at once"),
            ("max-body = 0", "2:12", "it must be 1 B at the least"),
        ] {
            let text = format!("[events]\n{text}\n");
            let error = FileConfig::parse("hotdock.toml", &text).expect_err("bad").to_string();
            assert!(error.starts_with(&format!("hotdock.toml:{place}: ")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_bad_pattern_is_refused_with_its_place() {
        let text = "[events]\nmax-body = 5\naccept = [\"shop.*\", \"shop..a\"]\n";
        let error = FileConfig::parse("hotdock.toml", text).expect_err("bad").to_string();
        assert!(error.starts_with("hotdock.toml:3:"), "{error}");
        assert!(error.contains("`shop..a`: a pattern has no empty segments"), "{error}");
    }
}
