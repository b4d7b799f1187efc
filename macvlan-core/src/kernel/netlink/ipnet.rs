//! An address with the prefix of its network.

use std::{fmt, net::IpAddr, str::FromStr};

use anyhow::{Error, Result, anyhow, bail};
use serde::{Serialize, Serializer};

/// An address and the length of its network prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

impl IpNet {
    /// A single host.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether `address` is within the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.network().is_some_and(|network| network.contains(&address))
    }

    /// Whether `address` stands for the network, or for everybody in it (RFC 919, RFC 4291 2.6.1). One of
    /// two addresses (RFC 3021, RFC 6164) stands for itself.
    pub fn is_reserved(&self, address: IpAddr) -> bool {
        let Ok(network) = ipnet::IpNet::new(address, self.prefix) else { return false };
        if network.max_prefix_len() - network.prefix_len() < 2 {
            return false;
        }
        address == network.network() || (address.is_ipv4() && address == network.broadcast())
    }

    /// The network; `None` for a prefix that its address is too short for.
    fn network(&self) -> Option<ipnet::IpNet> {
        ipnet::IpNet::new(self.address, self.prefix).ok()
    }
}

impl FromStr for IpNet {
    type Err = Error;

    /// `10.9.0.7/24`, `fd00::7/64`; without a length, a single host.
    fn from_str(text: &str) -> Result<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(ip, len)| (ip, Some(len)));
        let address: IpAddr =
            address.parse().map_err(|_| anyhow!("{text:?} is not an IP address with prefix length"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| anyhow!("{text:?} has no valid prefix length"))?,
            None => longest,
        };
        if prefix > longest {
            bail!("the prefix of {text:?} is longer than {longest}");
        }
        if address.is_multicast() || address.is_unspecified() {
            bail!("{text:?} is not an address that a device can have");
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for IpNet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_its_hosts() {
        let contains = |net: &str, address: &str| {
            net.parse::<IpNet>().unwrap().contains(address.parse::<IpAddr>().unwrap())
        };
        assert!(contains("10.9.0.2/24", "10.9.0.255") && !contains("10.9.0.2/24", "10.9.1.2"));
        assert!(contains("fd09::2/64", "fd09::ffff") && !contains("fd09::2/64", "fd09:0:0:1::2"));
        assert!(contains("10.9.0.2/32", "10.9.0.2") && !contains("10.9.0.2/32", "10.9.0.3"));
        assert!(contains("10.9.0.2/0", "8.8.8.8") && contains("fd09::2/0", "2001:db8::1"));
        assert!(!contains("10.9.0.2/0", "fd09::2"));
    }

    #[test]
    fn the_network_and_everybody_in_it_are_no_hosts() {
        let is_reserved = |net: &str, address: &str| {
            net.parse::<IpNet>().unwrap().is_reserved(address.parse::<IpAddr>().unwrap())
        };
        assert!(is_reserved("10.9.0.2/24", "10.9.0.0") && is_reserved("10.9.0.2/24", "10.9.0.255"));
        assert!(!is_reserved("10.9.0.2/16", "10.9.0.255") && !is_reserved("10.9.0.2/31", "10.9.0.3"));
        assert!(is_reserved("fd09::2/64", "fd09::") && !is_reserved("fd09::2/64", "fd09::ffff"));
    }

    #[test]
    fn an_address_has_a_prefix_that_fits() {
        assert_eq!("10.9.0.7/24".parse::<IpNet>().unwrap().to_string(), "10.9.0.7/24");
        assert_eq!("fd00::7".parse::<IpNet>().unwrap().prefix, 128);
        for text in ["", "10.9.0.7/33", "10.9.0/24", "fd00::/129", "10.9.0.7/", "224.0.0.1/24", "::/64"] {
            assert!(text.parse::<IpNet>().is_err(), "{text:?}");
        }
    }
}
