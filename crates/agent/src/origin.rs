//! The origin of a connection: the address under which all connections of one host are counted.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the address under which a connection from this address is counted. A host commonly has a
/// whole /64 of IPv6.
pub fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        assert_eq!(of(address("2001:db8::1")), of(address("2001:db8::ffff:1")));
        assert_ne!(of(address("2001:db8::1")), of(address("2001:db8:0:1::1")));
        assert_eq!(of(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_ne!(of(address("192.0.2.1")), of(address("192.0.2.2")));
        assert_eq!(of(address("::1")), address("::1"));
    }
}
