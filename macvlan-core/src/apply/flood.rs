//! The flood device, in step with the children: after all that can be taken back.

use anyhow::Result;
use macvlan_common::mac::Mac;

use crate::{
    datapath::{
        Datapath as _,
        bpf::{attached::Bpf, flood, ingress_need},
    },
    discovery::{access::Access, children::find_children, locked_master::LockedMaster},
    kernel::netlink::Netlink,
    model::{child::Child, description::Degraded, master::Master},
};

/// Makes, keeps or removes the flood device of a master, as its children need it; `changed`: some are not as
/// they were last seen. Gives what is less than it could be: without the device, the host's broadcasts go
/// another way.
pub async fn keep_flood(locked: &mut LockedMaster, changed: bool) -> Vec<String> {
    match try_to_keep(locked, changed).await {
        Ok(less) => less,
        Err(error) => vec![format!("{error:#}")],
    }
}

/// The same after one child came, or that with the MAC `left` went: the children are only looked for where the
/// device may have to be another. The master must be locked.
///
/// # Errors
///
/// The children cannot be listed, or a map cannot be read or written.
pub async fn keep_flood_for_one(
    netlink: &Netlink,
    master: &Master,
    bpf: &mut Bpf,
    left: Option<Mac>,
) -> Result<Vec<String>> {
    if !bpf.flood_may_differ(master)? {
        return Ok(Vec::new());
    }
    let observed = find_children(netlink, Access::Change).await?;
    // Its device may still be on its way out.
    let children = observed.of(master.index).iter().filter(|child| Some(child.mac) != left);
    bpf.keep_flood(master, observed.floods_of(master.index), &children.collect::<Vec<_>>()).await?;
    Ok(less(bpf))
}

async fn try_to_keep(locked: &mut LockedMaster, changed: bool) -> Result<Vec<String>> {
    if changed {
        locked.observe().await?;
    }
    let LockedMaster { netlink, master, observed, attached, .. } = locked;
    let present = observed.floods_of(master.index);
    let Ok(bpf) = attached else {
        let left: Vec<u32> = present.iter().map(|device| device.index).collect();
        flood::remove(netlink, &left).await?;
        return Ok(Vec::new());
    };
    let children: Vec<&Child> = observed.of(master.index).iter().collect();
    bpf.keep_flood(master, present, &children).await?;
    Ok(less(bpf))
}

fn less(bpf: &Bpf) -> Vec<String> {
    let is_less = |degraded: &&Degraded| flood::concerns(degraded) || ingress_need::concerns(degraded);
    let less = bpf.description().degraded.iter().filter(is_less);
    less.map(ToString::to_string).collect()
}
