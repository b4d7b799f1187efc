//! Who on a master needs unicast to nobody here: as long as somebody does, it is not dropped.

use std::fs;

use anyhow::{Context as _, Result, bail};
use macvlan_common::child::Mode;

use crate::{
    discovery::locked_master::LockedMaster,
    kernel::netlink::link::{Link, ListOptions},
    model::{child::Child, options::DropUnknown, request::AttachRequest},
    plan::planned::Plan,
};

/// Refuses `--drop-unknown` where it is new and something on the master needs such frames.
///
/// # Errors
///
/// What needs them, and what to do.
pub async fn check(locked: &LockedMaster, request: &AttachRequest, plan: &Plan) -> Result<()> {
    let is_new = locked.attached.as_ref().map_or(true, |bpf| bpf.options().drop_unknown == DropUnknown::Off);
    if request.options.drop_unknown != Some(DropUnknown::On) || !is_new {
        return Ok(());
    }
    if let Some(need) = need(locked, locked.wanted_options(request).adopt, plan).await? {
        bail!("unknown unicast is not dropped: {need}; force it with --drop-unknown=force");
    }
    Ok(())
}

async fn need(locked: &LockedMaster, adopts: bool, plan: &Plan) -> Result<Option<String>> {
    let takes_others = |mode: Mode| matches!(mode, Mode::Source | Mode::Passthru);
    let planned = plan.children.iter().find(|child| takes_others(child.mode));
    if let Some(child) = planned {
        return Ok(Some(format!("child {:?} in mode {} receives it", child.name, child.mode.as_str())));
    }
    let is_finished = |child: &&Child| !child.unfinished;
    for child in locked.children().iter().filter(is_finished) {
        if takes_others(child.mode) {
            return Ok(Some(format!("child {} in mode {} receives it", child.title(), child.mode.as_str())));
        }
        if !adopts && !child.owned {
            return Ok(Some(format!("child {} is not adopted", child.title())));
        }
    }
    let own = locked.netlink.link_by_index(locked.master.index, None).await?;
    let own = own.context("the device is gone")?;
    if is_promiscuous(&own, locked.children().iter().any(|child| child.up))? {
        return Ok(Some(format!(
            "{:?} is in promiscuous mode, for a packet capture or because it was set so",
            locked.master.name
        )));
    }
    let upper = upper_here(locked).await?.or(upper_elsewhere(locked).await?);
    Ok(upper.map(|link| format!("{} {:?} is on the same device", kind(&link), link.name)))
}

/// Whether somebody wants all frames of a master. On a device that cannot filter by further MACs, a
/// child that is up makes the kernel count one itself (`__dev_set_rx_mode` in net/core/dev.c): that
/// one is told from a capture by the packet sockets there are.
fn is_promiscuous(master: &Link, has_child_up: bool) -> Result<bool> {
    Ok(match master.promiscuity {
        _ if master.promisc => true,
        0 => false,
        1 if has_child_up => {
            let path = "/proc/thread-self/net/packet";
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
            captures(&text, master.index)
        }
        _ => true,
    })
}

/// Whether a packet socket in this list takes frames of every protocol (`ETH_P_ALL`) on the device
/// of this index, or on all (`packet_seq_show` in net/packet/af_packet.c).
fn captures(list: &str, index: u32) -> bool {
    const EVERY_PROTOCOL: &str = "0003";
    list.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (protocol, device) = (fields.next(), fields.next());
        let on: Option<u32> = device.and_then(|device| device.parse().ok());
        protocol == Some(EVERY_PROTOCOL) && on.is_some_and(|on| on == 0 || on == index)
    })
}

fn kind(link: &Link) -> &str {
    link.kind.as_deref().unwrap_or("device")
}

/// A device on the master that is no child, in the master's own namespace.
async fn upper_here(locked: &LockedMaster) -> Result<Option<Link>> {
    let links = locked.netlink.links(ListOptions::default()).await?;
    let is_upper = |link: &Link| {
        link.lower == Some(locked.master.index) && link.lower_nsid.is_none() && !link.is_child()
    };
    // The two ends of a veth pair name each other.
    Ok(links.into_iter().find(|link| is_upper(link) && link.kind.as_deref() != Some("veth")))
}

/// The same, in the namespaces that the master's knows by number.
async fn upper_elsewhere(locked: &LockedMaster) -> Result<Option<Link>> {
    for nsid in locked.netlink.nsids().await? {
        // A namespace may be gone by now.
        let Ok(links) = locked.netlink.links(ListOptions { nsid: Some(nsid) }).await else { continue };
        // Asked only now: the first device that names our namespace gives it an id, if it had none.
        let own = locked.netlink.nsid_of(&locked.master.netns).await?;
        let is_upper = |link: &Link| {
            link.lower == Some(locked.master.index)
                && own.is_some_and(|own| own != nsid && link.lower_nsid == Some(own))
                && !link.is_child()
                && link.kind.as_deref() != Some("veth")
        };
        if let Some(link) = links.into_iter().find(is_upper) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   4     1 0      0      27713
0000000000000000 3      2    0800   5     1 0      0      27714
";

    #[test]
    fn a_capture_is_a_socket_for_every_protocol_on_the_device_or_on_all() {
        assert!(captures(LIST, 4) && !captures(LIST, 5) && !captures(LIST, 6));
        assert!(captures(&LIST.replace("0003   4", "0003   0"), 6));
        for broken in ["", "sk\n", "sk\n1 2 3", "sk\n1 2 3 0003", "sk\n1 2 3 0003 x", "sk\n1 2 3 0003 -1"] {
            assert!(!captures(broken, 4), "{broken:?}");
        }
    }

    #[test]
    fn the_kernels_own_count_for_its_children_is_no_capture() {
        let link = |promiscuity| Link { index: u32::MAX, promiscuity, ..Link::default() };
        assert!(!is_promiscuous(&link(0), true).unwrap());
        assert!(is_promiscuous(&link(1), false).unwrap());
        assert!(is_promiscuous(&link(2), true).unwrap());
        assert!(is_promiscuous(&Link { promisc: true, ..link(1) }, true).unwrap());
    }
}
