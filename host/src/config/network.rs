//! A range of addresses, as `10.0.0.0/8`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// An address, or all that share its first bits (CIDR, RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text is not a network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither an address nor a range such as 10.0.0.0/8")]
pub struct ParseNetworkError(String);

impl Network {
    /// Whether the address is in it. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                leading(u128::from(network.to_bits() ^ address.to_bits()), 32) >= self.prefix
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                leading(network.to_bits() ^ address.to_bits(), 128) >= self.prefix
            }
            _ => false,
        }
    }
}

/// What stands for everybody who may have this address as well as the next: of IPv6 the first
/// 64 bits, since one site has all that begin so; of IPv4 the address, as IPv6 writes it.
#[must_use]
pub fn site(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)),
    }
}

/// How many of the first bits of `width` are zero: at most 128.
fn leading(bits: u128, width: u32) -> u8 {
    u8::try_from(bits.leading_zeros() - (128 - width)).unwrap_or(u8::MAX)
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseNetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| invalid())?;
        if prefix > width { Err(invalid()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address to listen on: `127.0.0.1:8080`, `localhost:8080`, or `:8080` for all of the
/// machine's.
///
/// # Errors
/// When it is none, or its name leads nowhere.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let expected = || {
        format!(
            "`{text}` is no address: HOST:PORT such as 127.0.0.1:8080 or localhost:8080 is \
             expected, or :8080 for all addresses"
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    if host.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    if host.contains([':', '/', '[', ' ']) {
        return Err(expected());
    }
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| format!("`{host}` leads nowhere: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    // `localhost` is both; who means one of them says it.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("`{host}` leads nowhere"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_known_by_its_first_bits() {
        let network = |text: &str| text.parse::<Network>().expect("a network");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(network("10.0.0.0/8").contains(address("10.9.8.7")));
        assert!(network("10.0.0.0/8").contains(address("::ffff:10.9.8.7")));
        assert!(!network("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(network("192.0.2.1").contains(address("192.0.2.1")));
        assert!(!network("192.0.2.1").contains(address("192.0.2.2")));
        assert!(network("2001:db8::/32").contains(address("2001:db8:1::1")));
        assert!(network("0.0.0.0/0").contains(address("192.0.2.2")));
        assert_eq!(site(address("2001:db8::1")), site(address("2001:db8::ffff:0:0:2")));
        assert_ne!(site(address("2001:db8::1")), site(address("2001:db8:0:1::1")));
        assert_ne!(site(address("192.0.2.1")), site(address("192.0.2.2")));
        assert_eq!(site(address("192.0.2.1")), site(address("::ffff:192.0.2.1")));
        for bad in ["", "10.0.0.0/33", "host", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_may_be_a_name_or_only_a_port() {
        let address = |text: &str| socket_address(text).map(|address| address.to_string());
        assert_eq!(address("127.0.0.1:8080").as_deref(), Ok("127.0.0.1:8080"));
        assert_eq!(address("[::1]:8080").as_deref(), Ok("[::1]:8080"));
        assert_eq!(address(":8080").as_deref(), Ok("0.0.0.0:8080"));
        assert_eq!(address("localhost:8080").as_deref(), Ok("127.0.0.1:8080"));
        for wrong in ["", "8080", "localhost", "127.0.0.1", "::1:8080", "localhost:http", "a/b:1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
