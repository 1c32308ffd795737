//! Why a request got no answer, and what `wasi:http` calls it.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;

use hyper_util::client::legacy;
use wasmtime_wasi_http::Error;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFailure {
    #[error("{host} is at {address}, which is {what}")]
    Prohibited { host: String, address: IpAddr, what: &'static str },
    #[error("{name} could not be looked up")]
    Lookup { name: String, source: io::Error },
    #[error("{name} could not be looked up in time")]
    LookupTimeout { name: String },
    #[error(
        "its service has {limit} connections to {origin}, as many as it may ([outbound] \
         max-connections-per-origin)"
    )]
    Full { origin: String, limit: usize },
    #[error(
        "what is left of the host's connections is kept for services that have few ([outbound] \
         max-connections)"
    )]
    OverShare,
    #[error("{0} did not take the connection in time")]
    ConnectTimeout(String),
    #[error("{0} did not finish the TLS handshake in time")]
    TlsTimeout(String),
    #[error("no TLS certificates can be trusted")]
    Tls(#[source] rustls::Error),
    #[error("the connection failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}

/// The address rule's refusal, where that is why the request failed.
pub(super) fn prohibited(error: &legacy::Error) -> Option<String> {
    let failure = causes(error).find_map(|cause| cause.0.downcast_ref::<ConnectFailure>());
    failure
        .filter(|failure| matches!(failure, ConnectFailure::Prohibited { .. }))
        .map(|failure| failure.to_string())
}

/// A limit of connections, where that is why the request failed.
pub(super) fn over_limit(error: &legacy::Error) -> Option<String> {
    let failure = causes(error).find_map(|cause| cause.0.downcast_ref::<ConnectFailure>());
    failure
        .filter(|failure| {
            matches!(failure, ConnectFailure::Full { .. } | ConnectFailure::OverShare)
        })
        .map(|failure| failure.to_string())
}

/// What the guest is told: the innermost cause that has a name.
pub(super) fn for_guest(error: &legacy::Error) -> Error {
    causes(error).filter_map(named).last().unwrap_or(Error::HttpProtocolError)
}

/// All in words, outermost first, for the log.
pub(super) fn in_words(error: &legacy::Error) -> String {
    let mut words: Vec<String> = causes(error).map(|cause| cause.0.to_string()).collect();
    words.dedup();
    words.join(": ")
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = Cause<'a>> {
    std::iter::successors(Some(Cause(error)), Cause::cause)
}

/// An error in a chain of them.
#[derive(Clone, Copy)]
struct Cause<'a>(&'a (dyn StdError + 'static));

impl<'a> Cause<'a> {
    fn cause(&self) -> Option<Self> {
        match self.0.downcast_ref::<io::Error>() {
            // Its `source` leaves out the error that it wraps.
            Some(error) => error.get_ref().map(|inner| Cause(inner)),
            None => self.0.source().map(Cause),
        }
    }
}

fn named(Cause(error): Cause<'_>) -> Option<Error> {
    if let Some(error) = error.downcast_ref::<ConnectFailure>() {
        return of_connect(error);
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return of_hyper(error);
    }
    // The guest's own body broke off.
    match error.downcast_ref::<Error>() {
        Some(Error::HttpRequestBodySize(size)) => Some(Error::HttpRequestBodySize(*size)),
        Some(error) => Some(Error::InternalError(Some(error.to_string()))),
        None => None,
    }
}

fn of_connect(error: &ConnectFailure) -> Option<Error> {
    Some(match error {
        ConnectFailure::Prohibited { .. } => Error::DestinationIpProhibited,
        ConnectFailure::Lookup { .. } => Error::DnsError { rcode: None, info_code: None },
        ConnectFailure::LookupTimeout { .. } => Error::DnsTimeout,
        ConnectFailure::Full { .. } | ConnectFailure::OverShare => Error::ConnectionLimitReached,
        ConnectFailure::ConnectTimeout(_) | ConnectFailure::TlsTimeout(_) => {
            Error::ConnectionTimeout
        }
        ConnectFailure::Tls(_) => Error::TlsCertificateError,
        ConnectFailure::Failed(_) => return None,
    })
}

fn of_tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Error::TlsCertificateError
        }
        rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    }
}

fn of_io(error: &io::Error) -> Option<Error> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Error::DestinationIpUnroutable,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
        _ => return None,
    })
}

fn of_hyper(error: &hyper::Error) -> Option<Error> {
    Some(if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_closed() || error.is_canceled() {
        Error::ConnectionTerminated
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else {
        return None;
    })
}

/// What the guest is told of a body that broke off.
pub(super) fn of_body(error: &hyper::Error) -> Error {
    causes(error).filter_map(named).last().unwrap_or(Error::HttpResponseIncomplete)
}
