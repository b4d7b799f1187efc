//! Somebody on the network of a lab: a namespace, the device it talks through, and its address.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet},
    netns::Netns,
};

use crate::lab::{
    cables::{CableEnd, bring_up, mac_of, on},
    frames::Party,
    namespaces::{WITHOUT_IPV6, set, with_settings},
    traffic::Endpoint,
};

/// Bits of the network's part of an address: everybody's network is that large.
pub const PREFIX: u8 = 24;

/// Somebody on the network.
#[derive(Debug)]
pub struct Station {
    /// Where it lives.
    pub netns: Netns,
    /// Its device, which is yet to be made.
    pub device: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Station {
    /// One in a namespace of its own, without IPv6: nobody sends frames that were not asked for.
    ///
    /// # Errors
    ///
    /// This is not root.
    pub fn new(device: &'static str, address: Ipv4Addr) -> Result<Self> {
        Ok(Self { netns: with_settings(&WITHOUT_IPV6)?, device, address })
    }

    /// Sets `/proc/sys/net/NAME` of its namespace, and tells whether there is such a setting.
    ///
    /// # Errors
    ///
    /// The setting takes no such value.
    pub fn set(&self, name: &str, value: &str) -> Result<bool> {
        set(&self.netns, name, value)
    }

    /// Its device as an end of a cable.
    pub fn cable_end(&self) -> CableEnd<'_> {
        CableEnd::new(&self.netns, self.device)
    }

    /// Its address with the length of the network's part.
    pub fn ip_net(&self) -> IpNet {
        IpNet { address: self.address.into(), prefix: PREFIX }
    }

    /// Gives its device its address, and brings it up.
    ///
    /// # Errors
    ///
    /// The device has not been made.
    pub fn come_up(&self) -> Result<()> {
        self.bring_up(self.device, PREFIX)
    }

    /// Gives a device its address, and brings it up.
    ///
    /// # Errors
    ///
    /// There is no such device.
    pub fn bring_up(&self, device: &str, prefix: u8) -> Result<()> {
        let address = IpNet { address: self.address.into(), prefix };
        let index = on(&self.netns, async || bring_up(&Netlink::open()?, device, [address]).await);
        index.map(drop).with_context(|| format!("cannot bring {device:?} up"))
    }

    /// As traffic workloads take it.
    pub fn endpoint(&self) -> Endpoint<'_> {
        Endpoint { netns: &self.netns, address: self.address }
    }

    /// As frames name it.
    ///
    /// # Errors
    ///
    /// Its device is gone.
    pub fn party(&self) -> Result<Party> {
        Ok(Party { mac: mac_of(&self.netns, self.device)?, address: self.address })
    }
}
