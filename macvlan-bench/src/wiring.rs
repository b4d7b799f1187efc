//! How each contender connects host, wire and children.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use macvlan_common::child::Mode;
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet},
    netns::Netns,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{IpVlanMode, LinkAttribute, LinkMessage},
    route::RouteScope,
};
use rtnetlink::{LinkBridge, LinkIpVlan, LinkMacVlan, RouteMessageBuilder};

use crate::{
    contender::Wiring,
    contender_lab::{DEVICE, Lab, PREFIX, Station},
    lab::cables::{End, bring_up, cable, create, on},
};

/// Bits of an address that stands for itself alone.
const ALONE: u8 = 32;

/// The bridge, and the host's own macvlan.
const BRIDGE: &str = "br0";

const SHIM: &str = "shim";

/// Where the host lives that a shim stands in for.
const BEHIND_SHIM: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);

/// Makes every device of a lab and brings it up.
///
/// # Errors
///
/// What this kernel has not got, or refuses.
pub fn connect(lab: &Lab) -> Result<()> {
    if lab.contender.wiring == Wiring::Direct {
        return direct(lab);
    }
    on(&lab.host.netns, async || cable(&Netlink::open()?, at(&lab.host), at(&lab.wire)).await)?;
    address(&lab.wire, DEVICE, PREFIX)?;
    match lab.contender.wiring {
        Wiring::Macvlan | Wiring::DropAll => {
            address(&lab.host, DEVICE, PREFIX)?;
            macvlans(lab)
        }
        Wiring::Shim => shim(lab),
        Wiring::Bridge { netfilter } => bridge(lab, netfilter),
        Wiring::Routed => routed(lab),
        Wiring::Ipvlan => {
            address(&lab.host, DEVICE, PREFIX)?;
            let ipvlan = |index| LinkIpVlan::new(DEVICE, index, IpVlanMode::L2).build();
            children_on_master(lab, ipvlan).context("cannot make an ipvlan device")
        }
        Wiring::Direct => Ok(()),
    }
}

fn macvlans(lab: &Lab) -> Result<()> {
    let mode = Mode::Bridge.to_kernel().into();
    children_on_master(lab, |index| LinkMacVlan::new(DEVICE, index, mode).build())
        .context("cannot make a macvlan device")
}

/// Makes a device on the master for each child, in the child's namespace, where it is called [`DEVICE`].
fn children_on_master(lab: &Lab, device: impl Fn(u32) -> LinkMessage + Sync) -> Result<()> {
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        let master = netlink.link_by_name(DEVICE).await?.context("the master is gone")?;
        for child in &lab.children {
            // Numbered, as a namespace without a name could not be found otherwise.
            netlink.assign_nsid(&child.netns).await?;
            let inside = child.netns.visit(Netlink::open)?;
            netlink.create_inside(device(master.index), DEVICE, &child.netns, &inside).await?;
        }
        Ok(())
    })?;
    lab.children.iter().try_for_each(|child| address(child, DEVICE, PREFIX))
}

/// The host talks through a macvlan of its own, by a route to each child.
fn shim(lab: &Lab) -> Result<()> {
    let behind = IpNet { address: BEHIND_SHIM.into(), prefix: PREFIX };
    on(&lab.host.netns, async || bring_up(&Netlink::open()?, DEVICE, Some(behind)).await)?;
    macvlans(lab)?;
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        let master = netlink.link_by_name(DEVICE).await?.context("the master is gone")?;
        let mode = Mode::Bridge.to_kernel().into();
        create(&netlink, LinkMacVlan::new(SHIM, master.index, mode).build()).await
    })
    .context("cannot make the shim")?;
    address(&lab.host, SHIM, ALONE)?;
    lab.children.iter().try_for_each(|child| route(&lab.host, SHIM, child.address, None))
}

fn bridge(lab: &Lab, netfilter: bool) -> Result<()> {
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        create(&netlink, LinkBridge::new(BRIDGE).build()).await.context("cannot make a bridge")?;
        let bridge = netlink.link_by_name(BRIDGE).await?.context("the bridge is gone")?;
        for (child, port) in lab.children.iter().zip(PORTS) {
            cable(&netlink, End { netns: &lab.host.netns, device: port }, at(child)).await?;
        }
        for port in [DEVICE].into_iter().chain(PORTS) {
            let index = bring_up(&netlink, port, None).await?;
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.attributes.push(LinkAttribute::Controller(bridge.index));
            netlink.change(RouteNetlinkMessage::SetLink(message), 0).await.context("cannot add a port")?;
        }
        Ok(())
    })?;
    let found = lab.host.set("bridge/bridge-nf-call-iptables", if netfilter { "1" } else { "0" })?;
    if netfilter && !found {
        bail!("this kernel has no bridge netfilter (br_netfilter)");
    }
    address(&lab.host, BRIDGE, PREFIX)?;
    lab.children.iter().try_for_each(|child| address(child, DEVICE, PREFIX))
}

/// The host's ends of its children's cables.
const PORTS: [&str; 2] = ["port1", "port2"];

fn routed(lab: &Lab) -> Result<()> {
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        for (child, port) in lab.children.iter().zip(PORTS) {
            cable(&netlink, End { netns: &lab.host.netns, device: port }, at(child)).await?;
            bring_up(&netlink, port, None).await?;
        }
        Ok(())
    })?;
    lab.host.set("ipv4/ip_forward", "1")?;
    address(&lab.host, DEVICE, PREFIX)?;
    for (child, port) in lab.children.iter().zip(PORTS) {
        address(child, DEVICE, ALONE)?;
        route(&lab.host, port, child.address, None)?;
        route(child, DEVICE, lab.host.address, None)?;
        let others = lab.children.iter().filter(|other| other.address != child.address);
        for other in others.chain([&lab.wire]) {
            route(child, DEVICE, other.address, Some(lab.host.address))?;
        }
        route(&lab.wire, DEVICE, child.address, Some(lab.host.address))?;
    }
    Ok(())
}

/// A cable between every two of the paths' ends, each with a route over it alone.
fn direct(lab: &Lab) -> Result<()> {
    let [one, other] = &lab.children;
    let cables =
        [(one, DEVICE, &lab.wire, DEVICE), (one, "host0", &lab.host, DEVICE), (one, "peer0", other, DEVICE)];
    for (station, device, peer, far_device) in cables {
        let near = End { netns: &station.netns, device };
        let far = End { netns: &peer.netns, device: far_device };
        on(&station.netns, async || cable(&Netlink::open()?, near, far).await)?;
        for (here, device, there) in [(station, device, peer), (peer, far_device, station)] {
            address(here, device, ALONE)?;
            route(here, device, there.address, None)?;
        }
    }
    Ok(())
}

fn at(station: &Station) -> End<'_> {
    End { netns: &station.netns, device: DEVICE }
}

/// Gives a device its station's address and brings it up.
fn address(station: &Station, device: &str, prefix: u8) -> Result<()> {
    let address = IpNet { address: station.address.into(), prefix };
    let brought_up = on(&station.netns, async || bring_up(&Netlink::open()?, device, Some(address)).await);
    brought_up.map(drop).with_context(|| format!("cannot bring {device:?} up"))
}

/// Sends what is for `target` through a device, by a gateway or straight.
fn route(station: &Station, device: &str, target: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Result<()> {
    let source = station.address;
    add_route(&station.netns, device, source, target, gateway)
        .with_context(|| format!("cannot add a route to {target}"))
}

fn add_route(
    netns: &Netns,
    device: &str,
    source: Ipv4Addr,
    target: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
) -> Result<()> {
    on(netns, async || {
        let netlink = Netlink::open()?;
        let index = netlink.link_by_name(device).await?.context("the device is gone")?.index;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(target, ALONE)
            .output_interface(index)
            .pref_source(source);
        let route = match gateway {
            Some(gateway) => route.gateway(gateway),
            None => route.scope(RouteScope::Link),
        };
        netlink.change(RouteNetlinkMessage::NewRoute(route.build()), NLM_F_CREATE | NLM_F_EXCL).await
    })
}
