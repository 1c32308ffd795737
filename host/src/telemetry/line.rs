//! A line of the log, as operators get it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a line takes besides its texts, roughly.
const LINE_COST: usize = 160;

/// What a field takes besides its texts, roughly.
const FIELD_COST: usize = 64;

/// How much a line matters.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every detail.
    #[default]
    Trace,
    /// Details.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong.
    Error,
}

/// A line of the log. Field names are stable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogLine {
    /// Its number; the host begins with 1 at each start.
    pub position: u64,
    /// When it was logged (RFC 3339).
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub logged_at: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Who says it: `guest` is the service, anything else a part of the host.
    pub target: String,
    /// The service that says it or that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// That service's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The text.
    pub message: String,
    /// What else is known.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

impl LogLine {
    /// How much memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let of_field = |(name, value): (&String, &Value)| {
            FIELD_COST + name.len() + value.as_str().map_or(0, str::len)
        };
        let texts = [Some(&self.message), Some(&self.target), self.service.as_ref()];
        LINE_COST
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + self.fields.iter().map(of_field).sum::<usize>()
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

fn rfc3339<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(*ms);
    serializer.collect_str(&humantime::format_rfc3339_millis(time))
}
