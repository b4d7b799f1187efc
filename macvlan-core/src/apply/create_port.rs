//! Making planned ports. The macvlan comes first and is finished last: what a killed run leaves is known by it.

use anyhow::{Context as _, Error, Result};
use macvlan_common::port::{Half, index_of};
use nix::errno::Errno;

use crate::{
    apply::journal::Journal,
    datapath::bpf::hooks::port_programs::PortPrograms,
    discovery::locked_master::LockedMaster,
    kernel::{
        crash,
        ethtool::Ethtool,
        netlink::{
            Netlink, kernel_errno,
            macvlan::{NewChild, OWNER_ALIAS},
            port::NewPair,
        },
    },
    model::port::{port_names, port_number},
    plan::planned::{PlannedChild, Target},
};

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
            none => none.insert(PortPrograms::load().context(NEEDS_BPF).with_context(cannot)?),
        };
        create(locked, journal, child, programs).await.with_context(cannot)?;
    }
    Ok(())
}

/// A port without programs hears and says nothing.
const NEEDS_BPF: &str = "a port needs BPF, which is unavailable; kind=macvlan needs none";

async fn create(
    locked: &LockedMaster,
    journal: &mut Journal,
    child: &PlannedChild,
    programs: &mut PortPrograms,
) -> Result<()> {
    let (netlink, own) = (&locked.netlink, &locked.master.netns);
    let number = make_macvlan(locked, child).await?;
    let (macvlan, host_end) = (index_of(number, Half::Macvlan), index_of(number, Half::HostEnd));
    journal.made(own, netlink, macvlan);
    crash::point("making the macvlan of a port")?;
    let link = netlink.link_by_index(macvlan, None).await?.context(VANISHED)?;
    let (mac, names) = (link.mac.context("it has no MAC")?, port_names(number));
    let pair = NewPair { index: host_end, name: &names.host_end, peer: &child.name, mac, mtu: link.mtu };
    netlink.create_port_pair(&pair, &child.netns).await?;
    journal.made(own, netlink, host_end);
    crash::point("making the pair of a port")?;
    for (index, name) in [(macvlan, &names.macvlan), (host_end, &names.host_end)] {
        programs.put(name)?;
        netlink.restrict_ipv6_if_there(index).await?;
    }
    finish(journal, netlink, child, (macvlan, host_end)).await
}

/// Brings the devices of a port up, its macvlan last, and gives it its addresses.
async fn finish(
    journal: &mut Journal,
    netlink: &Netlink,
    child: &PlannedChild,
    (macvlan, host_end): (u32, u32),
) -> Result<()> {
    let inside = journal.socket(&child.netns)?;
    let end = inside.link_by_name(&child.name).await?.context(VANISHED)?.index;
    receive_redirected(child)?;
    let up = child.settings.up.unwrap_or(true);
    inside.finish_child(end, OWNER_ALIAS, up).await?;
    netlink.finish_child(host_end, OWNER_ALIAS, up).await?;
    netlink.finish_child(macvlan, OWNER_ALIAS, up).await?;
    crash::point("finishing a port")?;
    for net in &child.addresses {
        inside.add_address(end, *net).await?;
    }
    for gateway in &child.gateways {
        journal.sets_first_default_route(&child.netns).await?;
        inside.set_default_route(end, *gateway).await?;
    }
    Ok(())
}

const VANISHED: &str = "it vanished while it was made";

/// A veth takes what XDP sends it from another device only while it receives in batches (`veth_xdp_xmit` in
/// drivers/net/veth.c): with an XDP program of its own, or with GRO.
fn receive_redirected(child: &PlannedChild) -> Result<()> {
    let name = child.name.parse()?;
    let set = || Ethtool::open(name)?.set_gro(true);
    if child.target == Target::Own { set() } else { child.netns.run(set) }
}

/// Makes the macvlan of a port. Gives the number of the port.
async fn make_macvlan(locked: &LockedMaster, child: &PlannedChild) -> Result<u32> {
    let mut tries = 0;
    loop {
        let number = port_number(getrandom::u32().context("cannot draw the number of a port")?);
        let name = port_names(number).macvlan;
        let new = NewChild {
            master: locked.master.index,
            name: &name,
            kind: child.kind,
            mode: child.mode,
            mac: child.settings.mac,
            mtu: child.settings.mtu,
            bcqueuelen: child.settings.bcqueuelen,
        };
        tries += 1;
        match locked.netlink.create_port_macvlan(index_of(number, Half::Macvlan), &new).await {
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
