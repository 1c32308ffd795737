//! Whether a version does as well as the one before it. Only numbers, no time.
//!
//! Requests, events and calls are compared apart. A difference must be more than is borne, and
//! such that versions that are alike would show it by chance in one canary of a thousand at
//! most, with all of its looks, at whatever distribution of errors and times. What matters is
//! only which of two versions each request went to.

mod chance;
#[cfg(test)]
mod simulation;
mod spending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chance::{deviations, so_few_below, so_many_marked};
pub(in crate::deploy) use spending::Spending;

use crate::manifest::Canary;
use crate::service::{Ending, Kind, Latencies, Measurement, Series};

/// Quantiles that are compared, what they are called, and what is borne besides the times as
/// long: less says nothing on a busy machine.
const QUANTILES: [(f64, &str, Duration); 3] = [
    (0.5, "median", Duration::from_millis(2)),
    (0.9, "90th percentile", Duration::from_millis(5)),
    (0.99, "99th percentile", Duration::from_millis(20)),
];

/// Endings that are compared, and what is said of those that ended so.
const ENDINGS: [(Ending, &str); 4] = [
    (Ending::Failed, "failed"),
    (Ending::HostFailed, "ended with a failure of the store or the host"),
    (Ending::Conflict, "ended with a conflict with others"),
    (Ending::Left, "were left by clients, each counted once"),
];

/// What one look may use up is shared among what is compared of each kind: the version's own
/// errors have as much as three others.
const TESTS: f64 = (ENDINGS.len() + QUANTILES.len() + 2) as f64;

/// Among how many kinds it is shared, and among how many for a version that others call.
const KINDS: f64 = 2.0;
const KINDS_WITH_CALLS: f64 = 3.0;

/// What two measurements say of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deploy) enum Verdict {
    /// It does worse, and how.
    Failed(String),
    /// Too few requests, events or calls to tell.
    TooFew(String),
    /// It does as well.
    Passed,
}

/// One look at what was measured of both in the same time.
pub(in crate::deploy) struct Look<'a> {
    pub(in crate::deploy) settings: &'a Canary,
    pub(in crate::deploy) old: &'a Measurement,
    pub(in crate::deploy) new: &'a Measurement,
    /// What the new version takes, of which it has to have had enough.
    pub(in crate::deploy) takes: &'a [Kind],
    /// How likely it may be by chance that it fails.
    pub(in crate::deploy) chance: f64,
}

/// One kind of what two versions did.
struct Compared<'a> {
    settings: &'a Canary,
    /// `requests`, and what is done with them.
    what: &'static str,
    done: &'static str,
    kind: Kind,
    old: &'a Series,
    new: &'a Series,
    /// For each test.
    chance: f64,
}

impl Look<'_> {
    /// Why it fails, whether it can be told already, or that it passes.
    pub(in crate::deploy) fn judge(&self) -> Verdict {
        let kinds = self.kinds();
        let enough = kinds.iter().filter(|kind| kind.has_enough());
        if let Some(reason) = enough.filter_map(Compared::worse).next() {
            return Verdict::Failed(reason);
        }
        let taken = kinds.iter().filter(|kind| self.takes.contains(&kind.kind));
        // What neither was given is nothing that the service does now.
        let seen: Vec<_> = taken.clone().filter(|kind| kind.is_seen()).collect();
        let lacking = if seen.is_empty() { taken.collect() } else { seen };
        match lacking.into_iter().find(|kind| !kind.has_enough()) {
            Some(kind) => Verdict::TooFew(kind.too_few()),
            None => Verdict::Passed,
        }
    }

    /// Why it fails, by what there is, be it ever so little.
    pub(in crate::deploy) fn worse(&self) -> Option<String> {
        self.kinds().iter().find_map(Compared::worse)
    }

    fn kinds(&self) -> Vec<Compared<'_>> {
        let Self { settings, old, new, chance, takes } = self;
        let is_called = takes.contains(&Kind::Call);
        let tests = TESTS * if is_called { KINDS_WITH_CALLS } else { KINDS };
        let compared = |kind, what, done, old, new| Compared {
            settings,
            what,
            done,
            kind,
            old,
            new,
            chance: chance / tests,
        };
        let mut kinds = vec![
            compared(Kind::Request, "requests", "answered", &old.requests, &new.requests),
            compared(Kind::Delivery, "events", "handled", &old.deliveries, &new.deliveries),
        ];
        if is_called {
            kinds.push(compared(Kind::Call, "calls", "answered", &old.calls, &new.calls));
        }
        kinds
    }
}

impl Compared<'_> {
    fn is_seen(&self) -> bool {
        self.old.tried() + self.new.tried() > 0
    }

    fn has_enough(&self) -> bool {
        self.old.tried().min(self.new.tried()) >= self.settings.requests
    }

    fn too_few(&self) -> String {
        let (what, done, least) = (self.what, self.done, self.settings.requests);
        format!(
            "it {done} {} {what} and the old version {}; {least} of each are needed to compare them",
            self.new.tried(),
            self.old.tried(),
        )
    }

    fn worse(&self) -> Option<String> {
        let fails = ENDINGS.iter().find_map(|(ending, words)| self.more_end_so(*ending, words));
        fails.or_else(|| QUANTILES.iter().find_map(|quantile| self.slower(quantile)))
    }

    /// Why too many of its requests end so, if they do.
    fn more_end_so(&self, ending: Ending, words: &str) -> Option<String> {
        let (old, new) = (Share::of(self.old, ending), Share::of(self.new, ending));
        let chance = if ending == Ending::Failed { 3.0 * self.chance } else { self.chance };
        let borne = f64::from(self.settings.errors) / 100.0;
        let fails = new.count > 0
            && so_many_marked(new.count, new.count + old.count, new.of, old.of, chance)
            && new.surely_more_by(&old, deviations(chance)) > borne;
        fails.then(|| {
            format!(
                "{:.1} % of its {} {words} ({} of {}), and {:.1} % of the old version's ({} of {}); \
                 {} points more are borne",
                new.share() * 100.0,
                self.what,
                new.count,
                new.of,
                old.share() * 100.0,
                old.count,
                old.of,
                self.settings.errors,
            )
        })
    }

    /// Why it is too slow at this quantile, if it is.
    fn slower(&self, (quantile, name, slack): &(f64, &str, Duration)) -> Option<String> {
        let (old, new) = (&self.old.took, &self.new.took);
        let (old_count, new_count) = (old.count(), new.count());
        let rank = |count: u64| ((count as f64 * quantile).ceil() as u64).clamp(1, count.max(1));
        let old_took = old.ranked(rank(old_count))?;
        let borne = old_took.mul_f64(self.settings.slower) + *slack;
        let within = new.at_most(borne);
        let fails = so_few_below(within, new_count, rank(old_count), old_count, self.chance);
        fails.then(|| self.in_words(name, (old_took, old_count), borne, new))
    }

    fn in_words(
        &self,
        name: &str,
        (old_took, old_count): (Duration, u64),
        borne: Duration,
        new: &Latencies,
    ) -> String {
        let quantile =
            QUANTILES.iter().find(|(_, each, _)| *each == name).map_or(0.5, |each| each.0);
        let new_count = new.count();
        let new_took = new.ranked((new_count as f64 * quantile).ceil() as u64).unwrap_or_default();
        format!(
            "the {name} of its {new_count} {} took {} ms, of the old version's {old_count} {} ms; \
             {:.1} ms are borne",
            self.what,
            millis(new_took),
            millis(old_took),
            millis(borne),
        )
    }
}

/// How many of how many ended so.
struct Share {
    count: u64,
    of: u64,
}

impl Share {
    fn of(series: &Series, ending: Ending) -> Self {
        Self { count: series.count(ending), of: series.tried() }
    }

    fn share(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.count as f64 / self.of as f64 }
    }

    /// By how much it is above the other, at least, as far as is sure (Newcombe 1998,
    /// method 10).
    fn surely_more_by(&self, other: &Self, deviations: f64) -> f64 {
        let (_, highest) = other.bounds(deviations);
        let (lowest, _) = self.bounds(deviations);
        let (share, others) = (self.share(), other.share());
        share - others - (share - lowest).hypot(highest - others)
    }

    /// Between what the true share lies (Wilson 1927).
    fn bounds(&self, deviations: f64) -> (f64, f64) {
        let (count, share) = ((self.of as f64).max(1.0), self.share());
        let square = deviations * deviations;
        let middle = share + square / (2.0 * count);
        let half =
            deviations * (share * (1.0 - share) / count + square / (4.0 * count * count)).sqrt();
        let scale = 1.0 + square / count;
        ((middle - half) / scale, (middle + half) / scale)
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
