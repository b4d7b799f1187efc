//! Making planned ports. The macvlan comes first and is finished last: what a killed run leaves is known by it.

use anyhow::{Context as _, Error, Result};
use macvlan_common::port::{Half, index_of};
use nix::errno::Errno;

use crate::{
    apply::journal::Journal,
    discovery::locked_master::LockedMaster,
    kernel::{
        crash,
        ethtool::Ethtool,
        netlink::{
            Netlink, kernel_errno,
            link::Link,
            macvlan::{NewChild, OWNER_ALIAS},
            port::NewPair,
        },
        netns::Netns,
    },
    model::port::{port_names, port_number},
    plan::planned::PlannedChild,
};

pub use crate::datapath::bpf::hooks::port_programs::PortPrograms;

/// How often another number is drawn where one is taken.
const TRIES: usize = 16;

/// Makes these ports, in their namespaces, and gives each its addresses.
///
/// # Errors
///
/// The kernel takes no BPF programs, or refuses a device, an address or a gateway. What was made is in the journal.
pub async fn create_ports(
    locked: &LockedMaster,
    journal: &mut Journal,
    planned: &[&PlannedChild],
) -> Result<()> {
    let mut programs: Option<PortPrograms> = None;
    for child in planned {
        let cannot = || format!("cannot add child {:?}", child.name);
        let programs = match &mut programs {
            Some(programs) => programs,
            none => none.insert(PortPrograms::load().with_context(cannot)?),
        };
        create(locked, journal, child, programs).await.with_context(cannot)?;
    }
    Ok(())
}

async fn create(
    locked: &LockedMaster,
    journal: &mut Journal,
    child: &PlannedChild,
    programs: &mut PortPrograms,
) -> Result<()> {
    let inside = journal.socket(&child.netns)?;
    let device = child.device(locked.master.index);
    let (own, up) = (&locked.netlink, child.settings.up.unwrap_or(true));
    let port = NewPort { own, inside: &inside, netns: &child.netns, device, maker: OWNER_ALIAS, up };
    let note = |index| journal.made(&locked.master.netns, own, index);
    let end = make_port(&port, programs, note).await?.index;
    for net in &child.addresses {
        inside.add_address(end, *net).await?;
    }
    for gateway in &child.gateways {
        journal.sets_first_default_route(&child.netns).await?;
        inside.set_default_route(end, *gateway).await?;
    }
    Ok(())
}

/// A port that is to be made.
pub struct NewPort<'a> {
    /// A socket in the master's namespace.
    pub own: &'a Netlink,
    /// A socket in the port's namespace.
    pub inside: &'a Netlink,
    /// The port's namespace.
    pub netns: &'a Netns,
    /// The port's name, and what its macvlan is to be.
    pub device: NewChild<'a>,
    /// For whom: the alias of its macvlan.
    pub maker: &'a str,
    /// Up, or down.
    pub up: bool,
}

/// Makes a port, and gives the end in its namespace. `made` is told of each device in the master's namespace.
///
/// # Errors
///
/// The kernel refuses a device or a program.
pub async fn make_port(
    port: &NewPort<'_>,
    programs: &mut PortPrograms,
    mut made: impl FnMut(u32),
) -> Result<Link> {
    let (number, end) = match make_devices(port, true, &mut made).await? {
        (number, end) if polls_by_gro(port, &end)? => (number, end),
        (number, _) => {
            let devices = [Half::Macvlan, Half::HostEnd].map(|half| index_of(number, half));
            port.own.delete_links(&devices).await?;
            make_devices(port, false, &mut made).await?
        }
    };
    let NewPort { own, inside, maker, up, .. } = *port;
    let (macvlan, host_end) = (index_of(number, Half::Macvlan), index_of(number, Half::HostEnd));
    let names = port_names(number);
    for (index, name) in [(macvlan, &names.macvlan), (host_end, &names.host_end)] {
        programs.put(name)?;
        own.restrict_ipv6_if_there(index).await?;
    }
    inside.finish_child(end.index, maker, up).await?;
    own.finish_child(host_end, maker, up).await?;
    own.finish_child(macvlan, maker, up).await?;
    crash::point("finishing a port")?;
    Ok(end)
}

const VANISHED: &str = "it vanished while it was made";

/// Makes the macvlan of a port, then its pair. Gives the number of the port, and the end in its namespace.
async fn make_devices(
    port: &NewPort<'_>,
    takes_redirected: bool,
    made: &mut impl FnMut(u32),
) -> Result<(u32, Link)> {
    let NewPort { own, inside, device, .. } = port;
    let number = make_macvlan(own, device, takes_redirected).await?;
    let (macvlan, host_end) = (index_of(number, Half::Macvlan), index_of(number, Half::HostEnd));
    made(macvlan);
    crash::point("making the macvlan of a port")?;
    let link = own.link_by_index(macvlan, None).await?.context(VANISHED)?;
    let (mac, names) = (link.mac.context("it has no MAC")?, port_names(number));
    let pair = NewPair { index: host_end, name: &names.host_end, peer: device.name, mac, mtu: link.mtu };
    own.create_port_pair(&pair, port.netns).await?;
    made(host_end);
    crash::point("making the pair of a port")?;
    Ok((number, inside.link_by_name(device.name).await?.context(VANISHED)?))
}

/// Has the end of a port take what XDP sends into the other one, which a veth does only while it polls
/// (`veth_xdp_xmit` in drivers/net/veth.c): with an XDP program of its own or, from Linux 5.13, with GRO. Gives whether
/// GRO does that: before, a new veth has it, and it means nothing.
fn polls_by_gro(port: &NewPort<'_>, end: &Link) -> Result<bool> {
    const GRO: &str = "rx-gro";
    let name = end.name.parse()?;
    let set = || {
        let device = Ethtool::open(name)?;
        let has_gro = device.offloads()?.get(GRO).copied().unwrap_or(false);
        device.set_gro(true)?;
        Ok(!has_gro)
    };
    // To enter even one's own needs `CAP_SYS_ADMIN`.
    if Netns::current()?.id() == port.netns.id() { set() } else { port.netns.run(set) }
}

/// Makes the macvlan of a port. Gives the number of the port.
async fn make_macvlan(own: &Netlink, device: &NewChild<'_>, takes_redirected: bool) -> Result<u32> {
    let mut tries = 0;
    loop {
        let random = getrandom::u32().context("cannot draw the number of a port")?;
        let number = port_number(random, takes_redirected);
        let name = port_names(number).macvlan;
        let new = NewChild { name: &name, ..device.clone() };
        tries += 1;
        match own.create_port_macvlan(index_of(number, Half::Macvlan), &new).await {
            Ok(()) => return Ok(number),
            // The index or the name is another port's.
            Err(error) if is_taken(&error) && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_taken(error: &Error) -> bool {
    [Some(Errno::EBUSY), Some(Errno::EEXIST)].contains(&kernel_errno(error))
}
