//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Network;

/// The public internet, and what the operator opened besides.
///
/// The rule is the host's and the same for every service: what a manifest says
/// never opens an address.
#[derive(Clone, Debug)]
pub(super) struct AddressRule {
    opened: Vec<Network>,
}

/// IPv4 networks that are not the public internet: the IANA special-purpose
/// registry (RFC 6890), multicast and the reserved rest.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "shared by a carrier's customers"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "for protocols"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "a 6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved or broadcast"),
];

/// IPv6 networks with a name for messages. What is in none of them and not in
/// 2000::/3 is not the public internet either. Those that carry an IPv4 address
/// inside are refused whichever it is: a gateway that takes one apart would
/// reach what this rule has not seen.
const SPECIAL_V6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "an IPv4 address inside IPv6"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "an IPv4 address inside IPv6"),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "an IPv4 address inside IPv6 (NAT64)"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "an IPv4 address inside IPv6 (NAT64)"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "for protocols"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "an IPv4 address inside IPv6 (6to4)"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

impl AddressRule {
    pub(super) fn new(opened: Vec<Network>) -> Self {
        Self { opened }
    }

    /// Refuses an address with what it is.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        // `contains` takes an IPv4-mapped address for the IPv4 one: the kernel
        // connects to the same.
        if self.opened.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        let special = match address {
            IpAddr::V4(address) => special_v4(address),
            IpAddr::V6(address) => special_v6(address),
        };
        special.map_or(Ok(()), Err)
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let of = |&&(network, prefix, _): &&([u8; 4], u32, _)| {
        (address.to_bits() ^ Ipv4Addr::from(network).to_bits()).leading_zeros() >= prefix
    };
    SPECIAL_V4.iter().find(of).map(|&(_, _, what)| what)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let of = |&&(network, prefix, _): &&([u16; 8], u32, _)| {
        (address.to_bits() ^ Ipv6Addr::from(network).to_bits()).leading_zeros() >= prefix
    };
    let named = SPECIAL_V6.iter().find(of).map(|&(_, _, what)| what);
    let global = address.segments()[0] & 0xe000 == 0x2000;
    named.or(if global { None } else { Some("reserved") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(opened: &[&str], address: &str) -> Result<(), &'static str> {
        let opened = opened.iter().map(|text| text.parse().expect("a network")).collect();
        AddressRule::new(opened).check(address.parse().expect("an address"))
    }

    #[test]
    fn only_the_public_internet_is_open() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(check(&[], address).is_err(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert_eq!(check(&[], address), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_networks() {
        assert_eq!(check(&["127.0.0.0/8"], "127.0.0.1"), Ok(()));
        assert_eq!(check(&["127.0.0.0/8"], "::ffff:127.0.0.1"), Ok(()));
        assert_eq!(check(&["127.0.0.0/8"], "10.0.0.1"), Err("private"));
        assert_eq!(check(&["127.0.0.0/8"], "::1"), Err("loopback"));
        assert_eq!(check(&["10.0.0.0/8"], "2002:a00:1::1"), check(&[], "2002:a00:1::1"));
        assert_eq!(check(&["fd00::/8"], "fd00::1"), Ok(()));
    }
}
