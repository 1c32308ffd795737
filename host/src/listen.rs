//! Taking connections, for the public and the admin listener alike: how many there are, how
//! long they may take over what, and their end.
//!
//! `places` says who gets in, `stream` looks at the bytes (`frames`: those of HTTP/2),
//! `state` is what is known of a connection, `guarded` ends it when its time is over,
//! `exchange` is a request on it, and `waits` says who an answer waits for.

pub(crate) mod clock;
mod date;
mod descriptors;
mod exchange;
mod fields;
pub(crate) mod frames;
mod guarded;
mod limits;
mod linger;
mod metrics;
mod places;
mod refusal;
mod state;
mod stream;
mod unsent;
mod waits;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::descriptors::{Reserve, Spares, Supply, too_few};
use self::guarded::{BoxError, Guarded};
use self::metrics::Counts;
use self::places::{Places, Refused};
use self::refusal::Refusals;
use self::unsent::{Share, Unsent};
use crate::config::HttpLimits;
use crate::machine::descriptors_wanted;

pub use self::exchange::{Exchange, Sent};
pub use self::fields::trim;
pub use self::limits::ConnectionLimits;
pub use self::metrics::{ConnectionsCollector, Shown};
pub use self::state::State;
pub use self::stream::Watched;
pub use self::waits::{Answering, Streams};

/// Descriptors that the admin listener keeps for when the public one has all others.
const ADMIN_SPARES: usize = 8;

/// Header lines that hyper takes by itself, and has room for on its stack.
const HYPERS_MAX_HEADERS: usize = 100;

/// What a connection buffers of a body at the most, in each direction. A body that comes in
/// larger pieces takes fewer calls into the guest.
const BODY_BUFFER_BYTES: usize = 256 << 10;

/// What HTTP/2 buffers of one answer.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// What the system takes of an answer before the network does. It says that there is room for
/// more when half of it is gone, and only by that it can be seen that a client takes anything.
const UNSENT_BYTES: u32 = 128 << 10;

/// Which of the two a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// For everybody.
    Public,
    /// For operators.
    Admin,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local: SocketAddr,
    name: &'static str,
    limits: Arc<ConnectionLimits>,
    places: Arc<Places>,
    counts: Arc<Counts>,
    unsent: Arc<Unsent>,
    spares: Spares,
    reserve: Reserve,
    builder: auto::Builder<Streams>,
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn bind(address: SocketAddr, side: Side, http: &HttpLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let (name, limits, spares) = match side {
            Side::Public => ("public", ConnectionLimits::public(http), 0),
            Side::Admin => ("admin", ConnectionLimits::admin(http), ADMIN_SPARES),
        };
        let most = descriptors::at_most(limits.max_connections, side);
        let (limits, reserve) = (Arc::new(limits.at_most(most)), Reserve::of(side));
        let counts = Arc::<Counts>::default();
        let places = Arc::new(Places::new(Arc::clone(&limits), Arc::clone(&counts)));
        let builder = builder(http, Streams::new(http.answer_idle, Arc::clone(&counts)));
        let (unsent, spares) = (Arc::new(Unsent::new(http.max_unsent)), Spares::new(spares));
        Ok(Self { listener, local, name, limits, places, counts, unsent, spares, reserve, builder })
    }

    /// The address that it really has.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many connections it has at the most.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.limits.max_connections
    }

    /// What a scrape is shown of it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        Shown {
            listener: self.name,
            places: Arc::clone(&self.places),
            counts: Arc::clone(&self.counts),
            unsent: Arc::clone(&self.unsent),
        }
    }

    /// What connections are served with.
    #[must_use]
    pub fn builder(&self) -> auto::Builder<Streams> {
        self.builder.clone()
    }

    /// Serves connections until `stop`, each as `serve` says, then takes no more and lets those
    /// that it has finish their requests, at most `drain`. Returns whether all did.
    pub async fn serve<C>(
        mut self,
        serve: impl Fn(Watched, SocketAddr, Arc<State>) -> C,
        stop: CancellationToken,
        drain: Duration,
    ) -> bool
    where
        C: GracefulConnection<Error = BoxError> + Send + 'static,
    {
        let refusals = Refusals::new();
        let mut supply = Supply::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = self.unsent.too_much() => {
                    self.places.relieve(&self.unsent);
                    continue;
                }
                () = descriptors_wanted() => {
                    self.places.make_room();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    if self.finds_room_for(&stream) {
                        supply.goes_on(self.name);
                        self.spares.refill();
                        self.take(stream, address, &serve, &refusals);
                    } else {
                        self.counts.no_descriptor();
                        let _the_next_may_find_some = supply.ran_out(self.name, &too_few());
                        refusals.tell(stream);
                    }
                }
                // The system says so before it looks whether anybody waits.
                Err(error) if descriptors::is_shortage(&error) && !self.is_awaited() => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(descriptors::FIRST_PAUSE) => {}
                    }
                }
                Err(error) if descriptors::is_shortage(&error) => {
                    self.counts.no_descriptor();
                    let pause = supply.ran_out(self.name, &error);
                    if !self.spares.give_up() {
                        self.places.make_room();
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = tokio::time::sleep(pause) => {}
                        }
                    }
                }
                // The client went before it was taken.
                Err(error) => tracing::debug!(%error, "a connection could not be taken"),
            }
        }
        let Self { listener, places, unsent, .. } = self;
        drop(listener);
        let emptied = async {
            loop {
                tokio::select! {
                    () = places.empty() => break,
                    // Answers come, and are not taken, until the last has ended.
                    () = unsent.too_much() => places.relieve(&unsent),
                }
            }
        };
        tokio::time::timeout(drain, emptied).await.is_ok()
    }

    /// Whether there is a descriptor for this connection. Where it has one of those that are for
    /// services' files, connections that do nothing go for it, if there are any.
    fn finds_room_for(&self, stream: &TcpStream) -> bool {
        let is_short = self.reserve.is_touched_by(stream, self.places.open());
        if is_short { self.places.make_room() > 0 } else { true }
    }

    /// Whether a connection waits to be taken, as far as the system can tell.
    fn is_awaited(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
    }

    /// Serves one connection, or tells its client that there is no place for it.
    fn take<C>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        serve: impl Fn(Watched, SocketAddr, Arc<State>) -> C,
        refusals: &Refusals,
    ) where
        C: GracefulConnection<Error = BoxError> + Send + 'static,
    {
        let state = Arc::new(State::new(Share::new(&self.unsent)));
        let seat = match self.places.take(address.ip(), &state) {
            Ok(seat) => seat,
            Err(refused) => {
                self.counts.refused(refused);
                let which = match refused {
                    Refused::Full => "in all",
                    Refused::Address => "of its address",
                };
                tracing::debug!(%address, "there are as many connections {which} as may be");
                return refusals.tell(stream);
            }
        };
        self.counts.taken();
        prepare(&stream, address, Duration::from_millis(self.limits.answer_idle));
        let watched = Watched::new(stream, Arc::clone(&state), self.limits.max_control_frames);
        let connection = serve(watched, address, Arc::clone(&state));
        let (limits, counts) = (Arc::clone(&self.limits), Arc::clone(&self.counts));
        tokio::spawn(Guarded::new(connection, state, limits, counts, seat));
    }
}

/// Sets what is not as the system has it.
fn prepare(stream: &TcpStream, address: SocketAddr, answer_idle: Duration) {
    // A response goes out when it is ready, not when the next segment is full.
    let set = stream.set_nodelay(true);
    let set = set.and_then(|()| SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES));
    // Also of a connection that was closed, whose last answer the system still has.
    let set = set.and_then(|()| SockRef::from(stream).set_tcp_user_timeout(Some(answer_idle)));
    if let Err(error) = set {
        tracing::debug!(%address, %error, "an option of a connection could not be set");
    }
}

/// What connections are served with: HTTP/1.1 and HTTP/2, within these limits.
#[must_use]
pub fn builder(limits: &HttpLimits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        // Whoever serves the connection looks at the time.
        .header_read_timeout(None)
        // A head that is larger than its own bound, but fits, is refused when it is there.
        .max_buf_size(limits.max_header_bytes.max(BODY_BUFFER_BYTES))
        // One that asks for nothing more may still want its answer (RFC 9112 §9.6).
        .half_close(true);
    // Told a number, even this one, hyper allocates them anew for each request.
    if limits.max_headers != HYPERS_MAX_HEADERS {
        builder.http1().max_headers(limits.max_headers);
    }
    let window = u32::try_from(BODY_BUFFER_BYTES).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(window)
        .keep_alive_interval(limits.keep_alive);
    builder
}
