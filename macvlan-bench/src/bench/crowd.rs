//! Many children on one master, or as many veths in one bridge: all in one namespace, but for one that
//! has an address and a namespace of its own.

use anyhow::{Context as _, Result};
use macvlan_common::{child::Mode, mac::Mac};
use macvlan_core::{
    commands::detach::detach,
    discovery::access::Access,
    kernel::{
        netlink::{Netlink, kind::Kind},
        netns::Netns,
    },
    model::options::Options,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};
use rtnetlink::LinkBridge;

use crate::{
    bench::{
        contender_lab::attach_to,
        wiring::{DEVICE, station},
    },
    lab::{
        cables::{self, CableEnd, add_port, bring_up, cable, create, on, veth},
        station::Station,
    },
};

/// Device group of all that are made here: they go in one request.
pub const GROUP: u32 = 0x6d76_6263;

const BRIDGE: &str = "br0";

/// How many are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// As macvlan children.
    Macvlan,
    /// By a veth each, in a bridge.
    Bridge,
}

/// A host, a wire, and many others.
pub struct Crowd {
    /// Who owns the master.
    pub host: Station,
    /// Who is beyond the master.
    pub wire: Station,
    /// Where all live but the owner of the address.
    pub home: Netns,
    /// The one with an address.
    pub owner: Station,
    joined: Joined,
    attached: bool,
}

impl Crowd {
    /// Builds one of so many, the owner of the address among them.
    ///
    /// # Errors
    ///
    /// What this kernel has not got, or refuses.
    pub fn build(joined: Joined, count: u32) -> Result<Self> {
        let crowd = Self::empty(joined)?;
        crowd.make(1..count)?;
        crowd.make_owner()?;
        Ok(crowd)
    }

    /// Builds one of nobody yet.
    ///
    /// # Errors
    ///
    /// What this kernel refuses.
    pub fn empty(joined: Joined) -> Result<Self> {
        let (host, wire, owner) = (station(1)?, station(2)?, station(11)?);
        // Its namespace has the settings of a station's; nobody in it has an address.
        let home = station(0)?.netns;
        let crowd = Self { host, wire, home, owner, joined, attached: false };
        on(&crowd.host.netns, async || {
            let netlink = Netlink::open()?;
            cable(&netlink, crowd.host.cable_end(), crowd.wire.cable_end()).await?;
            netlink.assign_nsid(&crowd.home).await?;
            netlink.assign_nsid(&crowd.owner.netns).await?;
            if joined == Joined::Macvlan {
                return bring_up(&netlink, DEVICE, [crowd.host.ip_net()]).await.map(drop);
            }
            bring_up(&netlink, DEVICE, []).await?;
            create(&netlink, LinkBridge::new(BRIDGE).build()).await.context("cannot make a bridge")?;
            bring_up(&netlink, BRIDGE, [crowd.host.ip_net()]).await?;
            add_port(&netlink, BRIDGE, DEVICE).await.map(drop)
        })?;
        crowd.wire.come_up()?;
        Ok(crowd)
    }

    /// Makes those with these numbers, up.
    ///
    /// # Errors
    ///
    /// The master is gone, a name is taken, or memory ran out.
    pub fn make(&self, numbers: std::ops::Range<u32>) -> Result<()> {
        on(&self.host.netns, async || {
            let netlink = Netlink::open()?;
            for number in numbers.clone() {
                self.make_one(&netlink, number, &name(number), &self.home).await?;
            }
            Ok(())
        })
        .context("cannot make many devices")?;
        if self.joined == Joined::Macvlan {
            return Ok(());
        }
        // A veth device comes up only once the other end is there (`veth_open`).
        on(&self.home, async || {
            let netlink = Netlink::open()?;
            for number in numbers {
                bring_up(&netlink, &name(number), []).await?;
            }
            Ok(())
        })
        .context("cannot bring many devices up")
    }

    fn make_owner(&self) -> Result<()> {
        let netns = &self.owner.netns;
        on(&self.host.netns, async || self.make_one(&Netlink::open()?, 0, DEVICE, netns).await)?;
        self.owner.come_up()
    }

    async fn make_one(&self, netlink: &Netlink, number: u32, name: &str, netns: &Netns) -> Result<()> {
        if self.joined == Joined::Macvlan {
            let master = netlink.link_by_name(DEVICE).await?.context("the master is gone")?.index;
            let mut message = cables::child(Kind::Macvlan, name, master, Mode::Bridge, Some(mac(number)));
            message.header.flags |= LinkFlags::Up;
            message.header.change_mask |= LinkFlags::Up;
            message.attributes.push(LinkAttribute::Group(GROUP));
            let inside = netns.visit(Netlink::open)?;
            return netlink.create_inside(message, name, netns, &inside).await.map(drop);
        }
        let bridge = netlink.link_by_name(BRIDGE).await?.context("the bridge is gone")?.index;
        let port = format!("port{number}");
        let far = CableEnd::new(netns, name).group(GROUP).mac(mac(number));
        let mut message = veth(CableEnd::new(&self.host.netns, &port), far);
        message.header.flags |= LinkFlags::Up;
        message.header.change_mask |= LinkFlags::Up;
        message.attributes.push(LinkAttribute::Controller(bridge));
        create(netlink, message).await
    }

    /// Puts our data path on the master.
    ///
    /// # Errors
    ///
    /// When it cannot be all that was asked for.
    pub fn attach(&mut self, options: Options) -> Result<()> {
        self.attached = true;
        attach_to(&self.host, options)
    }

    /// Takes it off.
    ///
    /// # Errors
    ///
    /// The master is gone, or its programs cannot be taken off.
    pub fn detach(&mut self) -> Result<()> {
        on(&self.host.netns, async || detach(DEVICE, false, Access::Change).await)?;
        self.attached = false;
        Ok(())
    }

    /// Removes all that [`make`](Self::make) made, and waits until they are gone.
    ///
    /// # Errors
    ///
    /// The children cannot be listed or deleted.
    pub fn clear(&self) -> Result<()> {
        on(&self.home, async || {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::Group(GROUP));
            Netlink::open()?.change(RouteNetlinkMessage::DelLink(message), 0).await
        })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if self.attached {
            // Pins would outlive the namespaces; the mount namespace ends them otherwise.
            let _ = self.detach();
        }
        // Now, so that the kernel is not at it while others are measured. They go with the namespace
        // otherwise.
        let _ = self.clear();
    }
}

/// The MAC of the one with this number.
pub fn mac(number: u32) -> Mac {
    let [_, _, high, low] = number.to_be_bytes();
    Mac::new([0x02, 0x6d, 0x76, 0x6c, high, low])
}

/// The name of the one with this number, but for the first, which is called `DEVICE`.
pub fn name(number: u32) -> String {
    format!("c{number}")
}
