//! How each contender connects host, wire and children.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use macvlan_common::child::Mode;
use macvlan_core::kernel::{
    netlink::{Netlink, ipnet::IpNet, kind::Kind},
    netns::Netns,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{IpVlanMode, LinkMessage},
    route::RouteScope,
};
use rtnetlink::{LinkBridge, LinkIpVlan, RouteMessageBuilder};

use crate::{
    bench::contender::Wiring,
    lab::{
        cables::{self, CableEnd, add_port, bring_up, cable, create, on},
        station::{PREFIX, Station},
    },
};

/// The device that each of them talks through, in its own namespace: the host's is the master.
pub const DEVICE: &str = "eth0";

/// Bits of an address that stands for itself alone.
const ALONE: u8 = 32;

/// The bridge, and the host's own macvlan.
const BRIDGE: &str = "br0";

const SHIM: &str = "shim";

/// Number of the host, and of the one that a shim stands in for.
const HOST: u8 = 1;

const WITH_SHIM: u8 = 3;

/// Somebody with this number on everybody's network.
///
/// # Errors
///
/// This is not root.
pub fn station(number: u8) -> Result<Station> {
    Station::new(DEVICE, address(number))
}

const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 97, 0, number)
}

/// Those that are connected.
#[derive(Debug)]
pub struct Stations {
    /// Who owns the master.
    pub host: Station,
    /// Who is beyond the master.
    pub wire: Station,
    /// The children.
    pub children: [Station; 2],
}

/// Makes everybody, and every device between them, and brings that up.
///
/// # Errors
///
/// This is not root, or the kernel lacks devices of a kind.
pub fn connect(wiring: Wiring) -> Result<Stations> {
    let host = station(if wiring == Wiring::Shim { WITH_SHIM } else { HOST })?;
    let lab = Stations { host, wire: station(2)?, children: [station(11)?, station(12)?] };
    if wiring == Wiring::Direct {
        direct(&lab)?;
        return Ok(lab);
    }
    on(&lab.host.netns, async || cable(&Netlink::open()?, lab.host.cable_end(), lab.wire.cable_end()).await)?;
    lab.wire.come_up()?;
    match wiring {
        Wiring::Macvlan | Wiring::DropAll => {
            lab.host.come_up()?;
            macvlans(&lab)?;
        }
        // The attach makes them.
        Wiring::Port => lab.host.come_up()?,
        Wiring::Shim => shim(&lab)?,
        Wiring::Bridge { netfilter } => bridge(&lab, netfilter)?,
        Wiring::Routed => routed(&lab)?,
        Wiring::Ipvlan => {
            lab.host.come_up()?;
            let ipvlan = |index| LinkIpVlan::new(DEVICE, index, IpVlanMode::L2).build();
            children_on_master(&lab, ipvlan).context("cannot make an ipvlan device")?;
        }
        Wiring::Direct => {}
    }
    Ok(lab)
}

fn macvlans(lab: &Stations) -> Result<()> {
    children_on_master(lab, |index| cables::child(Kind::Macvlan, DEVICE, index, Mode::Bridge, None))
        .context("cannot make a macvlan device")
}

/// Makes a device on the master for each child, in the child's namespace, where it is called [`DEVICE`].
fn children_on_master(lab: &Stations, device: impl Fn(u32) -> LinkMessage + Sync) -> Result<()> {
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
    lab.children.iter().try_for_each(Station::come_up)
}

/// The host talks through a macvlan of its own, by a route to each child.
fn shim(lab: &Stations) -> Result<()> {
    let behind = IpNet { address: address(HOST).into(), prefix: PREFIX };
    on(&lab.host.netns, async || bring_up(&Netlink::open()?, DEVICE, [behind]).await)?;
    macvlans(lab)?;
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        let master = netlink.link_by_name(DEVICE).await?.context("the master is gone")?;
        create(&netlink, cables::child(Kind::Macvlan, SHIM, master.index, Mode::Bridge, None)).await
    })
    .context("cannot make the shim")?;
    lab.host.bring_up(SHIM, ALONE)?;
    lab.children.iter().try_for_each(|child| route(&lab.host, SHIM, child.address, None))
}

fn bridge(lab: &Stations, netfilter: bool) -> Result<()> {
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        create(&netlink, LinkBridge::new(BRIDGE).build()).await.context("cannot make a bridge")?;
        for (child, port) in lab.children.iter().zip(PORTS) {
            cable(&netlink, CableEnd::new(&lab.host.netns, port), child.cable_end()).await?;
        }
        for port in [DEVICE].into_iter().chain(PORTS) {
            bring_up(&netlink, port, []).await?;
            add_port(&netlink, BRIDGE, port).await?;
        }
        Ok(())
    })?;
    let found = lab.host.set("bridge/bridge-nf-call-iptables", if netfilter { "1" } else { "0" })?;
    if netfilter && !found {
        bail!("this kernel has no bridge netfilter (br_netfilter)");
    }
    lab.host.bring_up(BRIDGE, PREFIX)?;
    lab.children.iter().try_for_each(Station::come_up)
}

/// The host's ends of its children's cables.
const PORTS: [&str; 2] = ["port1", "port2"];

fn routed(lab: &Stations) -> Result<()> {
    on(&lab.host.netns, async || {
        let netlink = Netlink::open()?;
        for (child, port) in lab.children.iter().zip(PORTS) {
            cable(&netlink, CableEnd::new(&lab.host.netns, port), child.cable_end()).await?;
            bring_up(&netlink, port, []).await?;
        }
        Ok(())
    })?;
    lab.host.set("ipv4/ip_forward", "1")?;
    lab.host.come_up()?;
    for (child, port) in lab.children.iter().zip(PORTS) {
        child.bring_up(DEVICE, ALONE)?;
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
fn direct(lab: &Stations) -> Result<()> {
    let [one, other] = &lab.children;
    let cables =
        [(one, DEVICE, &lab.wire, DEVICE), (one, "host0", &lab.host, DEVICE), (one, "peer0", other, DEVICE)];
    for (station, device, peer, far_device) in cables {
        let near = CableEnd::new(&station.netns, device);
        let far = CableEnd::new(&peer.netns, far_device);
        on(&station.netns, async || cable(&Netlink::open()?, near, far).await)?;
        for (here, device, there) in [(station, device, peer), (peer, far_device, station)] {
            here.bring_up(device, ALONE)?;
            route(here, device, there.address, None)?;
        }
    }
    Ok(())
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
