//! Making the host's own macvlan, so that it neither speaks nor hears out of turn.

use anyhow::{Context, Result};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoMacVlan,
        LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
    },
};

use nix::errno::Errno;

use crate::kernel::netlink::{Netlink, kernel_errno};

/// The alias of every shim that we made.
pub const SHIM_ALIAS: &str = "macvlan-ctl shim";

/// Device group of a shim that is being made ("mvsh"); see
/// [`UNFINISHED_GROUP`](super::macvlan::UNFINISHED_GROUP).
pub const UNFINISHED_SHIM_GROUP: u32 = 0x6d76_7368;

/// The group that devices are in unless told otherwise.
const DEFAULT_GROUP: u32 = 0;

impl Netlink {
    /// Makes a macvlan in mode bridge on a master of the socket's own namespace, down and unfinished.
    ///
    /// # Errors
    ///
    /// The master is gone, or the name is taken.
    pub async fn create_shim(&self, master: u32, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.extend([
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(master),
            LinkAttribute::Group(UNFINISHED_SHIM_GROUP),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
            ]),
        ]);
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Makes a shim answer ARP for those alone to whom the host's way leads through it, and take IPv4
    /// packets from them alone: the host stays at its own MAC for everybody else.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn restrict_ipv4(&self, index: u32) -> Result<()> {
        // `include/uapi/linux/ip.h`.
        const IPV4_DEVCONF_RP_FILTER: u16 = 8;
        const IPV4_DEVCONF_ARPFILTER: u16 = 13;
        const IFLA_INET_CONF: u16 = 1;
        const NLA_F_NESTED: u16 = 1 << 15;
        let one =
            |setting: u16| [&8_u16.to_ne_bytes()[..], &setting.to_ne_bytes(), &1_u32.to_ne_bytes()].concat();
        let settings = [one(IPV4_DEVCONF_RP_FILTER), one(IPV4_DEVCONF_ARPFILTER)].concat();
        let settings = AfSpecInet::Other(DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, settings));
        self.specify(index, AfSpecUnspec::Inet(vec![settings])).await.context("cannot set arp_filter")
    }

    /// Leaves a device without an IPv6 address of its own making.
    ///
    /// # Errors
    ///
    /// The device is gone, or has no IPv6.
    pub async fn restrict_ipv6(&self, index: u32) -> Result<()> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        self.specify(index, AfSpecUnspec::Inet6(vec![mode])).await.context("cannot set addrgenmode")
    }

    /// The same, where there is IPv6.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn restrict_ipv6_if_there(&self, index: u32) -> Result<()> {
        match self.restrict_ipv6(index).await {
            Err(error) if kernel_errno(&error) == Some(Errno::EAFNOSUPPORT) => Ok(()),
            restricted => restricted,
        }
    }

    async fn specify(&self, index: u32, what: AfSpecUnspec) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![what]));
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Marks a shim as ours and finished, and brings it up.
    ///
    /// # Errors
    ///
    /// The device is gone, or its master is down.
    pub async fn finish_shim(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
        message
            .attributes
            .extend([LinkAttribute::IfAlias(SHIM_ALIAS.to_owned()), LinkAttribute::Group(DEFAULT_GROUP)]);
        self.change(RouteNetlinkMessage::SetLink(message), 0).await
    }
}
