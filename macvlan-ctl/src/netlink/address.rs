//! Addresses and default routes of a child.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::Netlink;

/// An address and the length of its network prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
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

/// Asks about another namespace (`include/uapi/linux/if_addr.h`).
const IFA_TARGET_NETNSID: u16 = 10;

/// The device's own address: where there is a peer, `IFA_ADDRESS` is that of the peer.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

impl Netlink {
    /// Addresses of the devices of a namespace (`None`: the socket's own), by index. About another
    /// namespace, the socket must be a strict one (see [`open_strict`](Self::open_strict)).
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for one because the namespace is gone.
    pub async fn addresses(&self, nsid: Option<i32>) -> Result<BTreeMap<u32, Vec<IpNet>>> {
        let mut message = AddressMessage::default();
        let namespace = nsid.map(|nsid| DefaultNla::new(IFA_TARGET_NETNSID, nsid.to_ne_bytes().to_vec()));
        message.attributes.extend(namespace.map(AddressAttribute::Other));
        let objects = self.dump(RouteNetlinkMessage::GetAddress(message)).await;
        let mut addresses: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
        for object in objects.context("cannot list addresses")? {
            if let RouteNetlinkMessage::NewAddress(message) = object
                && let Some(address) = own_address(&message)
            {
                let net = IpNet { address, prefix: message.header.prefix_len };
                addresses.entry(message.header.index).or_default().push(net);
            }
        }
        Ok(addresses)
    }

    /// Gives a device an address; one that it has already is left as it is.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub async fn add_address(&self, index: u32, net: IpNet) -> Result<()> {
        let message = match net.address {
            IpAddr::V4(address) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, net.prefix).build()
            }
            IpAddr::V6(address) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, net.prefix).build()
            }
        };
        let added = self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await;
        match added {
            Err(error) if super::kernel_errno(&error) == Some(nix::errno::Errno::EEXIST) => Ok(()),
            other => other.with_context(|| format!("cannot add address {net}")),
        }
    }

    /// Makes `gateway` the default route through a device.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for one because no address of the device reaches the gateway.
    pub async fn set_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let message = match gateway {
            IpAddr::V4(via) => {
                RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(via).build()
            }
            IpAddr::V6(via) => {
                RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).gateway(via).build()
            }
        };
        let set = self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE).await;
        set.with_context(|| format!("cannot set default route via {gateway}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_prefix_that_fits() {
        assert_eq!("10.9.0.7/24".parse::<IpNet>().unwrap().to_string(), "10.9.0.7/24");
        assert_eq!("fd00::7".parse::<IpNet>().unwrap().prefix, 128);
        for text in ["", "10.9.0.7/33", "10.9.0/24", "fd00::/129", "10.9.0.7/", "224.0.0.1/24", "::/64"] {
            assert!(text.parse::<IpNet>().is_err(), "{text:?}");
        }
    }
}
