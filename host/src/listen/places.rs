//! Who is connected: how many may be, in all and of one address, and who goes where there are
//! too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::clock::{Ms, now};
use super::limits::ConnectionLimits;
use super::metrics::Counts;
use super::state::{End, State};
use super::unsent::Unsent;
use crate::config::site;

/// Which part of all that may be goes at once, where some have to: looking for them takes as
/// long for one as for many.
const GOES_AT_ONCE: usize = 100;

/// How long a connection has to ask for something before it is one that never asked.
const TIME_TO_ASK: Ms = 250;

/// A listener's connections.
#[derive(Debug)]
pub(super) struct Places {
    limits: Arc<ConnectionLimits>,
    taken: Mutex<Taken>,
    counts: Arc<Counts>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    seats: HashMap<u64, Taker>,
    next: u64,
    /// Without those that go.
    staying: usize,
    of_site: HashMap<Ipv6Addr, usize>,
}

#[derive(Debug)]
struct Taker {
    state: Arc<State>,
    site: Ipv6Addr,
    is_exempt: bool,
    goes: bool,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    number: u64,
}

/// There are as many as may be, and all of them are at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// In all.
    Full,
    /// Of its address.
    Address,
}

impl Places {
    pub(super) fn new(limits: Arc<ConnectionLimits>, counts: Arc<Counts>) -> Self {
        Self { limits, taken: Mutex::default(), counts, emptied: Notify::new() }
    }

    /// A place for one more, at the cost of those that do nothing, if it has to be.
    pub(super) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        state: &Arc<State>,
    ) -> Result<Seat, Refused> {
        let is_exempt = self.limits.exempt.iter().any(|network| network.contains(address));
        let site = site(address);
        let ConnectionLimits { max_connections, max_per_address, .. } = *self.limits;
        let mut taken = self.lock();
        let of_site = taken.of_site.get(&site).copied().unwrap_or_default();
        if !is_exempt && of_site >= max_per_address {
            let gone = taken.let_go(max_per_address.div_ceil(GOES_AT_ONCE), Some(site));
            self.counts.gave_way(gone);
            if gone == 0 {
                return Err(Refused::Address);
            }
        }
        if taken.staying >= max_connections {
            let gone = taken.let_go(max_connections.div_ceil(GOES_AT_ONCE), None);
            self.counts.gave_way(gone);
            if gone == 0 {
                return Err(Refused::Full);
            }
        }
        let number = taken.next;
        taken.next += 1;
        taken.staying += 1;
        *taken.of_site.entry(site).or_default() += 1;
        let taker = Taker { state: Arc::clone(state), site, is_exempt, goes: false };
        taken.seats.insert(number, taker);
        Ok(Seat { places: Arc::clone(self), number })
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.lock().seats.len()
    }

    /// Lets some of those go that do nothing, and not all of them: who came last has yet to
    /// ask. Returns how many.
    pub(super) fn make_room(&self) -> usize {
        let mut taken = self.lock();
        let most = taken.staying.div_ceil(2);
        let gone = taken.let_go(self.limits.max_connections.div_ceil(GOES_AT_ONCE).min(most), None);
        self.counts.gave_way(gone);
        gone
    }

    /// Ends one after the other of those that hold most of their answers and take least, until
    /// what is left of all answers is no more than it may be.
    pub(super) fn relieve(&self, unsent: &Unsent) {
        let taken = self.lock();
        let mut excess = unsent.excess();
        let mut of_site = HashMap::<Ipv6Addr, i64>::new();
        let mut holders = Vec::new();
        for taker in taken.seats.values() {
            let bytes = taker.state.unsent().bytes();
            if taker.state.end() != End::No {
                // It will free what it has.
                excess -= bytes;
            } else if bytes > 0 {
                *of_site.entry(taker.site).or_default() += bytes;
                holders.push((taker, bytes));
            }
        }
        if excess <= 0 {
            return;
        }
        let now = now();
        holders.sort_by_cached_key(|(taker, bytes)| {
            // A proxy's has others' answers.
            let of_site = of_site.get(&taker.site).filter(|_| !taker.is_exempt);
            Reverse(unsent.turn(taker.state.unsent(), *of_site.unwrap_or(bytes), now))
        });
        let mut ended = 0;
        for (taker, bytes) in holders {
            if excess <= 0 {
                break;
            }
            excess -= bytes;
            taker.state.end_for(End::Unsent);
            ended += 1;
        }
        self.counts.relieved(ended);
    }

    /// Lets all finish what they have, and waits until they did.
    pub(super) async fn empty(&self) {
        for taker in self.lock().seats.values() {
            taker.state.leave();
        }
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Lets so many go at the most that do nothing: first those that never asked for anything,
    /// though they had time to, proxies last, and the oldest first.
    fn let_go(&mut self, count: usize, of: Option<Ipv6Addr>) -> usize {
        let candidates = self
            .seats
            .iter()
            .filter(|(_, taker)| !taker.goes && of.is_none_or(|site| site == taker.site));
        let now = now();
        let mut idle: Vec<_> = candidates
            .filter_map(|(number, taker)| {
                let (has_asked, since) = taker.state.dispensable()?;
                let had_no_time = !has_asked && now.saturating_sub(since) < TIME_TO_ASK;
                Some(((taker.is_exempt, had_no_time, has_asked, since), *number))
            })
            .collect();
        let count = count.min(idle.len());
        if count > 0 && count < idle.len() {
            idle.select_nth_unstable(count - 1);
        }
        for (_, number) in idle.iter().take(count) {
            if let Some(taker) = self.seats.get_mut(number) {
                taker.goes = true;
                taker.state.end_for(End::Place);
                let site = taker.site;
                self.leaves(site);
            }
        }
        count
    }

    fn leaves(&mut self, site: Ipv6Addr) {
        self.staying -= 1;
        if let Some(of_site) = self.of_site.get_mut(&site) {
            *of_site -= 1;
            if *of_site == 0 {
                self.of_site.remove(&site);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(taker) = taken.seats.remove(&self.number)
            && !taker.goes
        {
            taken.leaves(taker.site);
        }
        if taken.seats.is_empty() {
            self.places.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::state::Protocol;
    use super::*;
    use crate::config::HttpLimits;

    fn places(max_connections: usize, max_connections_per_address: usize) -> Arc<Places> {
        let limits = HttpLimits {
            max_connections,
            max_connections_per_address,
            trust_forwarded: vec!["10.0.0.0/8".parse().expect("a network")],
            ..HttpLimits::default()
        };
        let limits = Arc::new(ConnectionLimits::public(&limits));
        Arc::new(Places::new(limits, Arc::default()))
    }

    fn come(places: &Arc<Places>, address: &str) -> (Arc<State>, Result<Seat, Refused>) {
        let state = Arc::new(State::default());
        let seat = places.take(address.parse().expect("an address"), &state);
        (state, seat)
    }

    #[test]
    fn who_does_nothing_makes_room_and_who_is_at_work_stays() {
        let places = places(3, 3);
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| come(&places, address));
        let [(asked, _), (silent, _), (busy, _)] = &all;
        for state in [asked, busy] {
            state.speaks(Protocol::Http1);
            state.begin();
        }
        asked.ended();
        had_time();
        let (next, of_next) = come(&places, "192.0.2.4");
        assert!(of_next.is_ok());
        assert_eq!((silent.end(), asked.end(), busy.end()), (End::Place, End::No, End::No));
        next.begin();
        let (last, of_last) = come(&places, "192.0.2.4");
        assert!(of_last.is_ok());
        last.begin();
        assert_eq!(asked.end(), End::Place);
        let (_, refused) = come(&places, "192.0.2.5");
        assert_eq!(refused.err(), Some(Refused::Full));
        drop((all, of_next, of_last));
        assert!(come(&places, "192.0.2.5").1.is_ok());
        assert_eq!(places.open(), 0);
    }

    /// Waits until those who came before had time to ask.
    fn had_time() {
        let since = now();
        while now() < since + TIME_TO_ASK {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn who_just_came_stays_and_who_asked_before_makes_room() {
        let places = places(2, 2);
        let (asked, _seat) = come(&places, "192.0.2.1");
        asked.speaks(Protocol::Http1);
        asked.begin();
        asked.ended();
        let (fresh, _seat) = come(&places, "192.0.2.2");
        let (_, next) = come(&places, "192.0.2.3");
        assert!(next.is_ok());
        assert_eq!((asked.end(), fresh.end()), (End::Place, End::No));
    }

    #[test]
    fn who_came_last_stays_where_there_are_no_descriptors() {
        let places = places(10_000, 10_000);
        let all: Vec<_> = (0..7).map(|_| come(&places, "192.0.2.1")).collect();
        assert_eq!(places.make_room(), 4);
        let ends: Vec<_> = all.iter().map(|(state, _)| state.end()).collect();
        assert_eq!(ends, [[End::Place; 4].as_slice(), &[End::No; 3]].concat());
    }

    #[test]
    fn one_address_has_its_part_and_a_proxy_all() {
        let places = places(100, 2);
        let busy = |address: &str| {
            let (state, seat) = come(&places, address);
            state.begin();
            seat
        };
        let _held = [busy("2001:db8::1").expect("room"), busy("2001:db8::2").expect("room")];
        assert_eq!(busy("2001:db8::3").err(), Some(Refused::Address), "of one network");
        assert!(busy("2001:db8:0:1::1").is_ok());
        let proxies: Vec<_> = (0..10).map(|_| busy("10.1.2.3")).collect();
        assert!(proxies.iter().all(Result::is_ok));
    }
}
