//! Network devices as the kernel reports them.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use macvlan_common::{child::Mode, counters::Count, mac::Mac};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoKind, InfoMacVlan, InfoMacVtap, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
        LinkMessage, MacVlanFlags, MacVlanMode, Prop,
    },
};

use crate::kernel::netlink::Netlink;

/// One network device.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Index in its own namespace.
    pub index: u32,
    /// Name in its own namespace.
    pub name: String,
    /// Its MAC; `None` where it is not an Ethernet device.
    pub mac: Option<Mac>,
    /// Largest L3 packet.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The layer below it works (`LOWER_UP`).
    pub carrier: bool,
    /// `ip link set ... protodown on`.
    pub protodown: bool,
    /// The loopback device.
    pub loopback: bool,
    /// The device it is a port or slave of.
    pub controller: Option<u32>,
    /// The device below it.
    pub lower: Option<u32>,
    /// Namespace id of the device below it, as the asking namespace numbers it.
    pub lower_nsid: Option<i32>,
    /// Set promiscuous by `ip link set ... promisc on`.
    pub promisc: bool,
    /// How many things want all its frames (`IFLA_PROMISCUITY`).
    pub promiscuity: u32,
    /// `ip link set ... alias`.
    pub alias: Option<String>,
    /// `ip link set ... group`.
    pub group: u32,
    /// What made it: "veth", "macvlan", ...; `None` for hardware.
    pub kind: Option<String>,
    /// Mode of a macvlan or macvtap.
    pub mode: Option<Mode>,
    /// The MACs that one in mode source lists.
    pub sources: Vec<Mac>,
    /// One in mode source takes their frames from all others (`MACVLAN_FLAG_NODST`).
    pub takes_all: bool,
    /// Broadcast queue length of a macvlan or macvtap.
    pub bcqueuelen: Option<u32>,
    /// Frames that were dropped on receiving (`IFLA_STATS64`); a list of devices leaves it out.
    pub rx_dropped: Option<u64>,
}

impl Link {
    /// A macvlan or a macvtap.
    pub fn is_child(&self) -> bool {
        matches!(self.kind.as_deref(), Some("macvlan" | "macvtap"))
    }
}

/// What a device received and sent in all, as it counts itself (`ip -s link`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Received: bytes without those of a VLAN tag that the NIC took off, and without FCS.
    pub rx: Count,
    /// Sent.
    pub tx: Count,
}

/// Which devices to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListOptions {
    /// In the namespace with this id instead of the socket's own.
    pub nsid: Option<i32>,
}

impl Netlink {
    /// The device of this name, in the socket's own namespace.
    ///
    /// # Errors
    ///
    /// The request is not allowed. That there is no such device is no error.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.get_link(message).await
    }

    /// The device of this index, in the namespace with this id or the socket's own.
    ///
    /// # Errors
    ///
    /// The namespace is gone. That there is no such device is no error.
    pub async fn link_by_index(&self, index: u32, nsid: Option<i32>) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.extend(nsid.map(LinkAttribute::IfNetnsId));
        self.get_link(message).await
    }

    async fn get_link(&self, message: LinkMessage) -> Result<Option<Link>> {
        match self.get(RouteNetlinkMessage::GetLink(message)).await {
            Ok(Some(RouteNetlinkMessage::NewLink(message))) => Ok(Some(parse(message))),
            Ok(_) => Ok(None),
            Err(error) if super::kernel_errno(&error) == Some(nix::errno::Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every name of a device in the socket's namespace, with the further ones that devices have
    /// (`ip link property add altname`).
    ///
    /// # Errors
    ///
    /// The kernel does not list the devices.
    pub async fn names(&self) -> Result<HashSet<String>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let objects = self.dump(RouteNetlinkMessage::GetLink(message)).await;
        let mut names = HashSet::new();
        for object in objects.context("cannot list network devices")? {
            let RouteNetlinkMessage::NewLink(message) = object else { continue };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => drop(names.insert(name)),
                    LinkAttribute::PropList(properties) => {
                        names.extend(properties.into_iter().filter_map(|property| match property {
                            Prop::AltIfName(name) => Some(name),
                            _ => None,
                        }));
                    }
                    _ => {}
                }
            }
        }
        Ok(names)
    }

    /// Every device of a namespace.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn links(&self, options: ListOptions) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.extend(options.nsid.map(LinkAttribute::IfNetnsId));
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let objects =
            self.dump(RouteNetlinkMessage::GetLink(message)).await.context("cannot list network devices")?;
        let links = objects.into_iter().filter_map(|object| match object {
            RouteNetlinkMessage::NewLink(message) => Some(parse(message)),
            _ => None,
        });
        Ok(links.collect())
    }
}

impl Netlink {
    /// What every device of a namespace counted, by index: of the one with this id, or the socket's own.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn link_totals(&self, nsid: Option<i32>) -> Result<BTreeMap<u32, Totals>> {
        let mut message = LinkMessage::default();
        message.attributes.extend(nsid.map(LinkAttribute::IfNetnsId));
        let objects = self.dump(RouteNetlinkMessage::GetLink(message)).await;
        let objects = objects.context("cannot read the statistics of network devices")?;
        let counted = objects.into_iter().filter_map(|object| match object {
            RouteNetlinkMessage::NewLink(message) => Some((message.header.index, totals(&message)?)),
            _ => None,
        });
        Ok(counted.collect())
    }
}

fn totals(message: &LinkMessage) -> Option<Totals> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(Totals {
            rx: Count { packets: stats.rx_packets, bytes: stats.rx_bytes },
            tx: Count { packets: stats.tx_packets, bytes: stats.tx_bytes },
        }),
        _ => None,
    })
}

fn parse(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        promisc: message.header.flags.contains(LinkFlags::Promisc),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac::new),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Link(index) => link.lower = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.lower_nsid = Some(id),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Promiscuity(count) => link.promiscuity = count,
            LinkAttribute::ProtoDown(on) => link.protodown = on != 0,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Stats64(stats) => link.rx_dropped = Some(stats.rx_dropped),
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| parse_info(info, &mut link)),
            _ => {}
        }
    }
    link
}

fn parse_info(info: LinkInfo, link: &mut Link) {
    match info {
        LinkInfo::Kind(kind) => link.kind = Some(kind_name(&kind)),
        LinkInfo::Data(InfoData::MacVlan(items)) => {
            for item in items {
                match item {
                    InfoMacVlan::Mode(mode) => link.mode = parse_mode(mode),
                    InfoMacVlan::BcQueueLen(len) => link.bcqueuelen = Some(len),
                    InfoMacVlan::Flags(flags) => link.takes_all = flags.contains(MacVlanFlags::NoDst),
                    InfoMacVlan::MacAddrData(listed) => {
                        link.sources.extend(listed.into_iter().filter_map(|item| match item {
                            InfoMacVlan::MacAddr(mac) => Some(Mac::new(mac)),
                            _ => None,
                        }));
                    }
                    _ => {}
                }
            }
        }
        LinkInfo::Data(InfoData::MacVtap(items)) => {
            for item in items {
                match item {
                    InfoMacVtap::Mode(mode) => link.mode = parse_mode(mode),
                    InfoMacVtap::BcQueueLen(len) => link.bcqueuelen = Some(len),
                    InfoMacVtap::Flags(flags) => link.takes_all = flags.contains(MacVlanFlags::NoDst),
                    InfoMacVtap::MacAddrData(listed) => {
                        link.sources.extend(listed.into_iter().filter_map(|item| match item {
                            InfoMacVtap::MacAddr(mac) => Some(Mac::new(mac)),
                            _ => None,
                        }));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn kind_name(kind: &InfoKind) -> String {
    kind.to_string()
}

fn parse_mode(mode: MacVlanMode) -> Option<Mode> {
    Mode::from_kernel(mode.into())
}
