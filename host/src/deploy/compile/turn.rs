//! Whose turn it is to be compiled. Time is passed in, so that this is only the
//! rules.
//!
//! - One component is compiled at a time, so that serving keeps the other processors.
//! - Which takes long shows while it is compiled: beyond a slice of CPU time it is
//!   long, and makes room for one that is not. One that made room is set aside: its
//!   process stays, stopped. One is set aside at a time, so that memory is bounded;
//!   where one is already, the next begins anew later, alone.
//! - Short ones go in the order of who asks, then by how little their service used
//!   lately: who used much counts as long. Long ones take turns by use alone, and longer ones.
//! - What waited for long, or is set aside for long, has a slice before all others.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::name::ServiceName;

/// What a component may use of the processors before it counts as a long one.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// What a service may use lately before all that it brings counts as long.
pub(super) const MUCH: Duration = Duration::from_secs(5);
/// When half of what a service used is forgiven.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// What a long one may use before it makes room for another long one.
const LONG_TURN: Duration = Duration::from_secs(10);
/// How long one may wait without a slice.
const PATIENCE: Duration = Duration::from_secs(30);

/// On whose behalf a component is compiled; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Urgency {
    /// Somebody waits: for an upload, a rollback, or for what served before a restart.
    Awaited,
    /// A file in the plugin folder.
    Folder,
    /// A version that is kept, should somebody want it back.
    Kept,
}

/// What one that is to be compiled is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Not yet, or not now: its process, if it has one, stops.
    Wait,
    Run,
    /// Its process ends, and it waits anew.
    Again,
}

/// Those that are to be compiled, and what their services used.
#[derive(Debug, Default)]
pub(super) struct Turns {
    entries: Vec<Entry>,
    used: HashMap<ServiceName, Account>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    service: ServiceName,
    urgency: Urgency,
    state: State,
    /// Whether it has used a slice, in this process or in one before.
    long: bool,
    /// Since when it waits, or stands aside.
    idle_since: Instant,
    /// What its process has used.
    cpu: Duration,
    /// What it had used when this turn of its began.
    cpu_before: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Aside,
    /// Told to begin anew; its process is not gone yet.
    Ending,
}

/// What a service used lately.
#[derive(Clone, Copy, Debug)]
struct Account {
    cpu: Duration,
    at: Instant,
}

/// The lowest is next.
type Rank = (u8, bool, u128, u128, u64);

/// What the rank of a long one begins with.
const LONG: u8 = 2;

impl Turns {
    /// One more; its number.
    pub(super) fn enter(&mut self, service: &ServiceName, urgency: Urgency, now: Instant) -> u64 {
        self.last += 1;
        self.entries.push(Entry {
            id: self.last,
            service: service.clone(),
            urgency,
            state: State::Waiting,
            long: false,
            idle_since: now,
            cpu: Duration::ZERO,
            cpu_before: Duration::ZERO,
        });
        self.last
    }

    /// It is done, or not wanted any more; its process is gone.
    pub(super) fn leave(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Its process has used so much by now.
    pub(super) fn uses(&mut self, id: u64, cpu: Duration, now: Instant) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else { return };
        let more = cpu.saturating_sub(entry.cpu);
        entry.cpu = entry.cpu.max(cpu);
        entry.long |= entry.cpu >= SLICE;
        self.used.retain(|_, account| account.left(now) > Duration::from_millis(10));
        let account = self.used.entry(entry.service.clone()).or_insert(Account::new(now));
        *account = Account { cpu: account.left(now) + more, at: now };
    }

    /// Its process was ended, as it was told.
    pub(super) fn has_ended(&mut self, id: u64, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.state = State::Waiting;
            entry.idle_since = now;
            (entry.cpu, entry.cpu_before) = (Duration::ZERO, Duration::ZERO);
        }
    }

    /// What each is told now.
    pub(super) fn orders(&mut self, now: Instant) -> impl Iterator<Item = (u64, Order)> {
        self.decide(now);
        self.entries.iter().map(|entry| {
            let order = match entry.state {
                State::Waiting | State::Aside => Order::Wait,
                State::Running => Order::Run,
                State::Ending => Order::Again,
            };
            (entry.id, order)
        })
    }

    fn decide(&mut self, now: Instant) {
        let at = |state| self.entries.iter().position(|entry| entry.state == state);
        let (running, aside) = (at(State::Running), at(State::Aside));
        let next = (0..self.entries.len())
            .filter(|&each| matches!(self.entries[each].state, State::Waiting | State::Aside))
            .min_by_key(|&each| self.rank(each, now));
        let Some(next) = next.filter(|_| at(State::Ending).is_none()) else { return };
        match running {
            None => self.run(next),
            Some(running) if self.makes_room(running, next, now) => {
                // The place aside is free, or becomes so.
                if aside.is_none_or(|aside| aside == next) {
                    self.entries[running].state = State::Aside;
                    self.entries[running].idle_since = now;
                    self.run(next);
                } else {
                    self.entries[running].state = State::Ending;
                }
            }
            Some(_) => {}
        }
    }

    fn run(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.state = State::Running;
        entry.cpu_before = entry.cpu;
    }

    fn makes_room(&self, running: usize, next: usize, now: Instant) -> bool {
        let entry = &self.entries[running];
        let (its, others) = (self.rank(running, now), self.rank(next, now));
        // Of two long ones, neither comes to its end sooner by stopping the other all the time.
        let turn = if (its.0, others.0) == (LONG, LONG) { LONG_TURN } else { SLICE };
        entry.cpu - entry.cpu_before >= turn && others < its
    }

    fn rank(&self, index: usize, now: Instant) -> Rank {
        let entry = &self.entries[index];
        let used = self.used.get(&entry.service).map_or(Duration::ZERO, |used| used.left(now));
        let begun = matches!(entry.state, State::Running | State::Aside);
        let idles = entry.state != State::Running && now - entry.idle_since >= PATIENCE;
        let urgency = entry.urgency as u128;
        if idles && (begun || !entry.long) {
            let since = Reverse(now - entry.idle_since);
            return (0, false, u128::MAX - since.0.as_nanos(), 0, entry.id);
        }
        if entry.long || used >= MUCH {
            // One that has begun is brought to its end first.
            return (LONG, !begun, used.as_nanos(), urgency, entry.id);
        }
        (1, false, urgency, used.as_nanos(), entry.id)
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { cpu: Duration::ZERO, at: now }
    }

    fn left(&self, now: Instant) -> Duration {
        let ages = now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.cpu.mul_f64(0.5_f64.powf(ages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Compiler {
        turns: Turns,
        now: Instant,
    }

    impl Compiler {
        fn new() -> Self {
            Self { turns: Turns::default(), now: Instant::now() }
        }

        fn enter(&mut self, service: &str, urgency: Urgency) -> u64 {
            let service: ServiceName = service.parse().expect("a name");
            self.turns.enter(&service, urgency, self.now)
        }

        /// Who runs now, and who is told to begin anew.
        fn looks(&mut self) -> (Vec<u64>, Vec<u64>) {
            let orders: Vec<_> = self.turns.orders(self.now).collect();
            let with = |wanted| {
                orders.iter().filter(move |(_, order)| *order == wanted).map(|(id, _)| *id)
            };
            (with(Order::Run).collect(), with(Order::Again).collect())
        }

        fn runs(&mut self) -> u64 {
            let (runs, again) = self.looks();
            assert!(again.is_empty(), "{again:?} begins anew");
            let [one] = runs[..] else { panic!("one runs: {runs:?}") };
            one
        }

        /// It computes for so many seconds more; the others wait meanwhile.
        fn computes(&mut self, id: u64, seconds: u64) {
            let entry =
                self.turns.entries.iter().find(|entry| entry.id == id).expect("it is there");
            let cpu = entry.cpu + Duration::from_secs(seconds);
            self.now += Duration::from_secs(seconds);
            self.turns.uses(id, cpu, self.now);
        }

        fn is_aside(&self, id: u64) -> bool {
            self.turns.entries.iter().any(|entry| entry.id == id && entry.state == State::Aside)
        }
    }

    #[test]
    fn a_long_one_makes_room_and_goes_on_when_nobody_waits() {
        let mut compiler = Compiler::new();
        let long = compiler.enter("slow", Urgency::Awaited);
        assert_eq!(compiler.runs(), long);
        compiler.computes(long, 3);
        assert_eq!(compiler.runs(), long, "nobody waits");
        let short = compiler.enter("quick", Urgency::Kept);
        assert_eq!(compiler.runs(), short);
        assert!(compiler.is_aside(long));
        compiler.turns.leave(short);
        assert_eq!(compiler.runs(), long);
        compiler.turns.leave(long);
        assert_eq!(compiler.looks(), (vec![], vec![]));
    }

    #[test]
    fn a_short_one_is_not_interrupted_and_awaited_ones_go_first() {
        let mut compiler = Compiler::new();
        let [first, kept, folder, upload] = [
            ("a", Urgency::Kept),
            ("b", Urgency::Kept),
            ("c", Urgency::Folder),
            ("d", Urgency::Awaited),
        ]
        .map(|(service, urgency)| {
            let id = compiler.enter(service, urgency);
            compiler.looks();
            id
        });
        for expected in [first, upload, folder, kept] {
            assert_eq!(compiler.runs(), expected);
            compiler.turns.leave(expected);
        }
    }

    #[test]
    fn two_processes_are_there_at_the_most() {
        let mut compiler = Compiler::new();
        let first = compiler.enter("a", Urgency::Awaited);
        compiler.runs();
        compiler.computes(first, 2);
        let second = compiler.enter("b", Urgency::Awaited);
        assert_eq!(compiler.runs(), second);
        compiler.computes(second, 2);
        let third = compiler.enter("c", Urgency::Awaited);
        assert_eq!(compiler.looks(), (vec![], vec![second]), "its process has to go first");
        compiler.turns.has_ended(second, compiler.now);
        assert_eq!(compiler.runs(), third);
        compiler.turns.leave(third);
        assert_eq!(compiler.runs(), first, "what has begun is brought to its end");
        compiler.turns.leave(first);
        assert_eq!(compiler.runs(), second);
    }

    #[test]
    fn long_ones_take_longer_turns() {
        let mut compiler = Compiler::new();
        let first = compiler.enter("a", Urgency::Folder);
        compiler.runs();
        compiler.computes(first, 2);
        let second = compiler.enter("b", Urgency::Folder);
        assert_eq!(compiler.runs(), second, "it may be a short one");
        compiler.computes(second, 9);
        assert_eq!(compiler.runs(), second, "both are long");
        compiler.computes(second, 1);
        assert_eq!(compiler.runs(), first);
        compiler.computes(first, 9);
        assert_eq!(compiler.runs(), first);
    }

    #[test]
    fn a_service_without_end_holds_no_other() {
        let mut compiler = Compiler::new();
        for _ in 0..3 {
            let one = compiler.enter("endless", Urgency::Awaited);
            assert_eq!(compiler.runs(), one);
            compiler.computes(one, 2);
            compiler.turns.leave(one);
        }
        let next = compiler.enter("endless", Urgency::Awaited);
        let file = compiler.enter("other", Urgency::Folder);
        assert_eq!(compiler.runs(), file);
        compiler.computes(file, 4);
        assert_eq!(compiler.runs(), file, "it used less than the other");
        compiler.turns.leave(file);
        assert_eq!(compiler.runs(), next);
        compiler.turns.leave(next);
        compiler.now += Duration::from_secs(600);
        let forgiven = compiler.enter("endless", Urgency::Awaited);
        let file = compiler.enter("other", Urgency::Folder);
        assert_eq!(compiler.runs(), forgiven);
        compiler.turns.leave(forgiven);
        assert_eq!(compiler.runs(), file);
    }

    #[test]
    fn what_stands_aside_for_long_has_a_slice() {
        let mut compiler = Compiler::new();
        let long = compiler.enter("slow", Urgency::Folder);
        compiler.runs();
        compiler.computes(long, 2);
        let mut turns = 0;
        for number in 0..100 {
            let short = compiler.enter(&format!("s{number}"), Urgency::Awaited);
            while compiler.runs() == long {
                turns += 1;
                compiler.computes(long, 1);
            }
            assert_eq!(compiler.runs(), short);
            compiler.computes(short, 1);
            compiler.turns.leave(short);
        }
        assert!((2..=10).contains(&turns), "{turns}");
    }
}
