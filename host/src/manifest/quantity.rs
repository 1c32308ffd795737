//! Durations, sizes and counts, and the bounds that keep them sensible.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::fields::Field;
use super::problem::Problems;

const MIB: u64 = 1 << 20;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `[limits] memory`: less than 1 MiB starts no language's run-time, and 32-bit
/// WebAssembly ends at 4 GiB.
pub(super) const MEMORY: RangeInclusive<u64> = MIB..=4096 * MIB;
/// `[limits] table-elements` at most: address space is reserved for as many in
/// every table.
pub const MAX_TABLE_ELEMENTS: u64 = 1_000_000;
/// `[limits] table-elements`: none is enough for a component without pointers
/// to functions.
pub(super) const TABLE_ELEMENTS: RangeInclusive<u64> = 0..=MAX_TABLE_ELEMENTS;
/// `[limits] handles`: one request takes about ten.
pub(super) const HANDLES: RangeInclusive<u64> = 100..=1_000_000;
/// `[limits] host-memory`: a request takes some ten KiB, and its body and the answer's.
pub(super) const HOST_MEMORY: RangeInclusive<u64> = MIB..=4096 * MIB;
/// `[limits] log`.
pub(super) const LOG: RangeInclusive<u64> = 0..=64 * MIB;
/// `[limits] cpu`.
pub(super) const CPU: RangeInclusive<Duration> = MILLISECOND..=HOUR;
/// `[limits] deadline`.
pub(super) const DEADLINE: RangeInclusive<Duration> = MILLISECOND..=HOUR;
/// `[limits] body-idle` and `body-deadline`: a day for who sends events all day.
pub(super) const BODY_TIME: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(24 * 3600);
/// `[limits] streams`.
pub(super) const STREAMS: RangeInclusive<u64> = 0..=10_000;
/// `[limits] concurrency`.
pub(super) const CONCURRENCY: RangeInclusive<u64> = 1..=10_000;
/// `[limits] queue`: 0 refuses whatever cannot run at once.
pub(super) const QUEUE: RangeInclusive<u64> = 0..=100_000;
/// `[limits] outbound-requests`.
pub(super) const OUTBOUND_REQUESTS: RangeInclusive<u64> = 1..=10_000;
/// `[limits] request-body`: bodies are streamed, so this may be large.
pub(super) const REQUEST_BODY: RangeInclusive<u64> = 0..=1 << 40;
/// `[limits] replay-body`: kept in memory per invocation.
pub(super) const REPLAY_BODY: RangeInclusive<u64> = 0..=64 * MIB;
/// `[limits] response-buffer`: kept in memory per invocation.
pub(super) const RESPONSE_BUFFER: RangeInclusive<u64> = 0..=64 * MIB;
/// `[limits] response-body`: bodies are streamed, so this may be large.
pub(super) const RESPONSE_BODY: RangeInclusive<u64> = 0..=1 << 40;
/// `[instances] reuse`.
pub(super) const REUSE: RangeInclusive<u64> = 1..=1_000_000_000;
/// `[instances] idle`.
pub(super) const IDLE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
/// `[deploy] drain`.
pub(super) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
/// `[deploy] canary.pause`.
pub(super) const CANARY_PAUSE: RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;
/// `[deploy] canary.wait`: a week for who has little traffic.
pub(super) const CANARY_WAIT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 3600);
/// `[deploy] canary.requests`: one says nothing.
pub(super) const CANARY_REQUESTS: RangeInclusive<u64> = 2..=1_000_000;

/// `[[subscribe]] attempts`.
pub(super) const ATTEMPTS: RangeInclusive<u64> = 1..=1_000;
/// `[[subscribe]] concurrency`.
pub(super) const DELIVERY_CONCURRENCY: RangeInclusive<u64> = 1..=10_000;
/// `[[subscribe]] held`: kept in memory by position and key.
pub(super) const HELD: RangeInclusive<u64> = 1..=1_000_000;
/// `[[subscribe]] backoff`.
pub(super) const BACKOFF: RangeInclusive<Duration> = MILLISECOND..=HOUR;

impl Field<'_, '_> {
    /// `"100ms"`, `"5s"`, `"1m 30s"`.
    pub(super) fn duration(
        &self,
        bounds: &RangeInclusive<Duration>,
        problems: &mut Problems<'_>,
    ) -> Option<Duration> {
        if self.whole_number().is_some() {
            return self
                .wrong_type(problems, "a duration with its unit, such as \"100ms\" or \"5s\"");
        }
        let text = self.text(problems)?;
        match humantime::parse_duration(text) {
            Ok(duration) => self.within(duration, bounds, humantime::format_duration, problems),
            Err(_) => self.refuse(problems, text, "a duration such as \"100ms\" or \"5s\""),
        }
    }

    /// `"64MiB"`, or a plain number of bytes.
    pub(super) fn size(
        &self,
        bounds: &RangeInclusive<u64>,
        problems: &mut Problems<'_>,
    ) -> Option<u64> {
        let bytes = match self.whole_number() {
            Some(Ok(bytes)) => bytes,
            Some(Err(text)) => return self.refuse(problems, &text, "a size in bytes"),
            None => {
                let text = self.text(problems)?;
                match text.parse::<ByteSize>() {
                    Ok(size) => size.as_u64(),
                    Err(_) => return self.refuse(problems, text, "a size such as \"64MiB\""),
                }
            }
        };
        self.within(bytes, bounds, |bytes| ByteSize::b(bytes).display().iec().to_string(), problems)
    }

    /// A whole number.
    pub(super) fn count(
        &self,
        bounds: &RangeInclusive<u64>,
        problems: &mut Problems<'_>,
    ) -> Option<u64> {
        match self.whole_number() {
            Some(Ok(count)) => self.within(count, bounds, |count| count, problems),
            Some(Err(text)) => self.refuse(problems, &text, "a whole number, 0 or more"),
            None => self.wrong_type(problems, "a whole number"),
        }
    }

    fn within<T: PartialOrd + Copy, S: fmt::Display>(
        &self,
        value: T,
        bounds: &RangeInclusive<T>,
        shown: impl Fn(T) -> S,
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most, value) = (shown(*bounds.start()), shown(*bounds.end()), shown(value));
        self.report(problems, format_args!("must be between {least} and {most}; found: {value}"));
        None
    }

    fn refuse<T>(&self, problems: &mut Problems<'_>, text: &str, expected: &str) -> Option<T> {
        self.report(problems, format_args!("must be {expected}; found: `{text}`"));
        None
    }
}
