//! Canaries as they would go, thousands of them: none of two versions that are alike is
//! rolled back, and one that is twice as slow is, in its step.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::service::{Leavers, VersionMetrics};

/// Milliseconds of one request.
type Shape = fn(&mut Rng) -> f64;

/// What services take that users of such hosts have.
const SHAPES: [(&str, Shape); 10] = [
    ("always the same", |_| 20.0),
    ("a little around it", |rng| 20.0 + 4.0 * rng.f64()),
    ("exponential", |rng| 10.0 + 20.0 * exponential(rng)),
    ("log-normal", |rng| 20.0 * (0.5 * normal(rng)).exp()),
    ("log-normal, wide", |rng| 20.0 * normal(rng).exp()),
    ("four in ten are slow", |rng| if rng.f64() < 0.4 { 200.0 } else { 10.0 } * jitter(rng)),
    ("half are slow", |rng| if rng.bool() { 100.0 } else { 10.0 } * jitter(rng)),
    ("eight in a thousand are slow", |rng| {
        (if rng.f64() < 0.008 { 1000.0 } else { 20.0 }) * jitter(rng)
    }),
    ("a heavy tail", |rng| 10.0 * (1.0 - rng.f64()).powf(-0.8)),
    ("cached, read or computed", |rng| {
        [1.0, 30.0, 300.0][[0, 0, 0, 0, 0, 0, 1, 1, 1, 2][rng.usize(..10)]] * jitter(rng)
    }),
];

fn jitter(rng: &mut Rng) -> f64 {
    0.8 + 0.4 * rng.f64()
}

fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Two versions, of which the new one takes so many times as long.
struct Canaries<'a> {
    settings: &'a Canary,
    shape: Shape,
    times: f64,
    /// Requests per look, of both together, and looks per step.
    requests: usize,
    looks: usize,
}

impl Canaries<'_> {
    /// One canary as `watch` would take it through its steps; at which it is rolled back.
    fn one(&self, rng: &mut Rng) -> Option<usize> {
        let (old, new) = (VersionMetrics::default(), VersionMetrics::default());
        let steps = self.settings.steps.iter().enumerate();
        for (step, share) in steps.filter(|(_, share)| **share < 100) {
            let mut spending = Spending::at_step(step);
            let before = (old.read(), new.read());
            for look in 1..=self.looks {
                for _ in 0..self.requests {
                    let to_new = rng.u8(..100) < *share;
                    let took = (self.shape)(rng) * if to_new { self.times } else { 1.0 };
                    let took = Duration::from_secs_f64(took / 1_000.0);
                    let version = if to_new { &new } else { &old };
                    version.count(Kind::Request, Ending::Well, took);
                }
                let (old, new) = (old.read().since(&before.0), new.read().since(&before.1));
                let of = |chance| {
                    let takes = &[Kind::Request];
                    Look { settings: self.settings, old: &old, new: &new, takes, chance }
                };
                let verdict = of(spending.one_more_look()).judge();
                let last = look == self.looks;
                let worse = last && of(spending.last_look()).worse().is_some();
                if worse || matches!(verdict, Verdict::Failed(_)) {
                    return Some(step);
                }
            }
        }
        None
    }
}

/// The seed of a shape's canaries: the same each time.
fn rng(shape: &str) -> Rng {
    Rng::with_seed(shape.len() as u64)
}

/// How many of so many canaries of this shape are rolled back though nothing is wrong.
fn rolled_back(canaries: usize, name: &str, shape: Shape) -> usize {
    let settings = Canary { requests: 5, ..Canary::default() };
    let alike = Canaries { settings: &settings, shape, times: 1.0, requests: 20, looks: 6 };
    let mut rng = rng(name);
    (0..canaries).filter(|_| alike.one(&mut rng).is_some()).count()
}

#[test]
fn versions_that_are_alike_are_not_rolled_back() {
    for (name, shape) in SHAPES {
        assert_eq!(rolled_back(200, name, shape), 0, "{name}");
    }
}

#[test]
#[ignore = "minutes: the same with enough canaries to tell one of a thousand"]
fn less_than_one_canary_of_a_thousand_is_rolled_back_by_chance() {
    for (name, shape) in SHAPES {
        let rolled_back = rolled_back(10_000, name, shape);
        eprintln!("{name}: {rolled_back} of 10 000");
        assert!(rolled_back <= 10, "{name}: {rolled_back}");
    }
}

#[test]
fn the_bound_holds_also_where_nothing_more_is_borne() {
    // What is borne besides is nothing beside such times.
    let settings = Canary { slower: 1.0, requests: 1, ..Canary::default() };
    let shape: Shape = |rng| 5_000.0 * normal(rng).exp();
    let mut rng = Rng::with_seed(14);
    let canaries = Canaries { settings: &settings, shape, times: 1.0, requests: 40, looks: 6 };
    let rolled_back = (0..1_000).filter(|_| canaries.one(&mut rng).is_some()).count();
    assert!(rolled_back <= 1, "{rolled_back} of 1000");
}

#[test]
fn a_version_that_is_twice_as_slow_is_found_within_its_step() {
    for (name, shape) in SHAPES {
        // A tenth of 1 000 requests a second, for 30 seconds: the pause by default.
        let settings = Canary { steps: vec![10, 100], ..Canary::default() };
        let mut rng = rng(name);
        let canaries =
            Canaries { settings: &settings, shape, times: 2.0, requests: 3_000, looks: 10 };
        let found = (0..10).filter(|_| canaries.one(&mut rng) == Some(0)).count();
        assert_eq!(found, 10, "{name}");
    }
}

/// One canary of a tenth of the traffic, whose clients, so many, leave this share of their
/// requests to each of the versions. Whether it is rolled back.
fn left(rng: &mut Rng, clients: u8, (by_old, by_new): (f64, f64), one_who_leaves: bool) -> bool {
    let (old, new) = (VersionMetrics::default(), VersionMetrics::default());
    let leavers = Leavers::default();
    let settings = Canary { requests: 5, ..Canary::default() };
    let ask = |client: u8, to_new: bool, leaves: bool| {
        let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, client));
        let ending = match leaves {
            false => Ending::Well,
            true if leavers.is_first(address) => Ending::Left,
            true => Ending::LeftAgain,
        };
        let version = if to_new { &new } else { &old };
        version.count(Kind::Request, ending, Duration::from_millis(10));
    };
    let mut spending = Spending::at_step(0);
    (1..=6).any(|look| {
        for _ in 0..100 {
            let to_new = rng.u8(..10) == 0;
            ask(rng.u8(..clients), to_new, rng.f64() < if to_new { by_new } else { by_old });
        }
        if one_who_leaves {
            (0..100).for_each(|_| ask(255, true, true));
        }
        let (old, new) = (old.read(), new.read());
        let takes = &[Kind::Request];
        let of = |chance| Look { settings: &settings, old: &old, new: &new, takes, chance };
        let verdict = of(spending.one_more_look()).judge();
        let worse = look == 6 && of(spending.last_look()).worse().is_some();
        worse || matches!(verdict, Verdict::Failed(_))
    })
}

#[test]
fn no_client_rolls_a_version_back_by_leaving_and_many_do() {
    let mut rng = Rng::with_seed(7);
    for clients in [1, 3, 30, 200] {
        for share in [0.0, 0.02, 0.2] {
            for one in [false, true] {
                let all = (0..150).filter(|_| left(&mut rng, clients, (share, share), one));
                assert_eq!(all.count(), 0, "{clients} clients, {share}, one who leaves: {one}");
            }
        }
    }
    let hangs = (0..100).filter(|_| left(&mut rng, 200, (0.01, 1.0), false)).count();
    assert_eq!(hangs, 100, "a version that hangs is found by many who leave");
}
