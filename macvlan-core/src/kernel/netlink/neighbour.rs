//! Neighbours of one device.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use macvlan_common::mac::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use nix::errno::Errno;

use crate::kernel::netlink::{Netlink, fdb::mac_of, kernel_errno};

/// What the kernel knows of one neighbour (`NUD_*` in include/uapi/linux/neighbour.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Somebody said so.
    Permanent(Mac),
    /// It was learnt, and frames are sent there.
    Valid(Mac),
    /// The same, and the kernel is about to find out whether it is there still.
    Asked(Mac),
    /// It has not answered more than one request.
    Silent,
}

impl Neighbour {
    /// Where frames to it go.
    pub const fn mac(self) -> Option<Mac> {
        match self {
            Self::Permanent(mac) | Self::Valid(mac) | Self::Asked(mac) => Some(mac),
            Self::Silent => None,
        }
    }
}

impl Netlink {
    /// The permanent neighbours of the device with this index.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn permanent_neighbours(&self, index: u32) -> Result<BTreeMap<IpAddr, Mac>> {
        let all = self.neighbours(index).await?.into_iter();
        Ok(all
            .filter_map(|(ip, neighbour)| match neighbour {
                Neighbour::Permanent(mac) => Some((ip, mac)),
                _ => None,
            })
            .collect())
    }

    /// The neighbours of the device with this index.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn neighbours(&self, index: u32) -> Result<BTreeMap<IpAddr, Neighbour>> {
        let mut all = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            request.attributes.push(NeighbourAttribute::IfIndex(index));
            let objects = match self.dump(RouteNetlinkMessage::GetNeighbour(request)).await {
                // A kernel without IPv6.
                Err(error) if kernel_errno(&error) == Some(Errno::EOPNOTSUPP) => continue,
                objects => objects.context("cannot list neighbours")?,
            };
            for object in objects {
                if let RouteNetlinkMessage::NewNeighbour(entry) = object
                    && entry.header.ifindex == index
                {
                    all.extend(ip_of(&entry).zip(neighbour(&entry)));
                }
            }
        }
        Ok(all)
    }

    /// Makes `mac` the permanent neighbour that has this address, whatever was known of it.
    ///
    /// # Errors
    ///
    /// The device is gone or down.
    pub async fn set_neighbour(&self, index: u32, ip: IpAddr, mac: Mac) -> Result<()> {
        let mut entry = message(index, ip);
        entry.header.state = NeighbourState::Permanent;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
        let set = self.change(RouteNetlinkMessage::NewNeighbour(entry), NLM_F_CREATE | NLM_F_REPLACE).await;
        set.with_context(|| format!("cannot set neighbour {ip}"))
    }

    /// Lets the kernel find out whether a neighbour is still there: it is [silent](Neighbour::Silent) in some seconds,
    /// if not.
    ///
    /// # Errors
    ///
    /// The device or the neighbour is gone.
    pub async fn ask_neighbour(&self, index: u32, ip: IpAddr, mac: Mac) -> Result<()> {
        let mut entry = message(index, ip);
        entry.header.state = NeighbourState::Probe;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
        let asked = self.change(RouteNetlinkMessage::NewNeighbour(entry), NLM_F_REPLACE).await;
        asked.with_context(|| format!("cannot ask for neighbour {ip}"))
    }

    /// Forgets a neighbour; that it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn remove_neighbour(&self, index: u32, ip: IpAddr) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelNeighbour(message(index, ip)), 0).await {
            Err(error) if matches!(kernel_errno(&error), Some(Errno::ENOENT | Errno::ENODEV)) => Ok(()),
            other => other.with_context(|| format!("cannot remove neighbour {ip}")),
        }
    }
}

fn message(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    let (family, address) = match ip {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

fn neighbour(entry: &NeighbourMessage) -> Option<Neighbour> {
    match entry.header.state {
        NeighbourState::Failed => Some(Neighbour::Silent),
        NeighbourState::Incomplete => {
            let asked = |attribute: &NeighbourAttribute| matches!(attribute, NeighbourAttribute::Probes(2..));
            entry.attributes.iter().any(asked).then_some(Neighbour::Silent)
        }
        NeighbourState::Permanent => mac_of(entry).map(Neighbour::Permanent),
        NeighbourState::Delay | NeighbourState::Probe => mac_of(entry).map(Neighbour::Asked),
        _ => mac_of(entry).map(Neighbour::Valid),
    }
}

fn ip_of(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some((*ip).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some((*ip).into()),
        _ => None,
    })
}
