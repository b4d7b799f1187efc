//! A master left to the kernel, with a shim if wanted.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use macvlan_common::mac::Mac;

use crate::{
    datapath::shim,
    discovery::locked_master::LockedMaster,
    model::{
        child::Child,
        master::Master,
        options::{MissingChoice, SingleMac},
        request::AttachRequest,
        shim::shim_name,
    },
};

/// Leaves a master to the kernel, with a shim if wanted. What is left of a data path goes last: until
/// there is something else, host and children talk through it.
pub(crate) async fn step_down(
    locked: &mut LockedMaster,
    request: &AttachRequest,
    doomed: &[Child],
    access: &BTreeMap<Mac, bool>,
    reason: String,
) -> Result<Vec<String>> {
    let reason = if locked.wanted_options(request).single_mac == SingleMac::Off {
        reason
    } else {
        format!("{reason}; single-mac is off, and a wire that carries one MAC drops what children send")
    };
    let wants_shim = match request.options.on_missing_bpf {
        Some(MissingChoice::Shim) => true,
        Some(MissingChoice::Plain) => false,
        Some(MissingChoice::Fail) => bail!("{reason}"),
        None => !locked.shims().is_empty(),
    };
    let is_doomed = |child: &Child| doomed.iter().any(|doomed| child.is_same(doomed));
    let children: Vec<&Child> = locked.children().iter().filter(|child| !is_doomed(child)).collect();
    let warnings = if wants_shim {
        let mut access = access.clone();
        if !locked.wanted_options(request).adopt {
            shim::keep_strangers(&mut access, &children);
        }
        let shims = locked.shims();
        match shim::raise(&locked.netlink, &locked.master, shims, &children, &access).await {
            Ok(left_out) => [shim_instead(&reason, &locked.master)].into_iter().chain(left_out).collect(),
            Err(error) => vec![format!("{}; {error:#}", no_bpf(&reason, children.len()))],
        }
    } else {
        let told = vec![no_bpf(&reason, children.len())];
        remove_shims(locked).await?;
        told
    };
    locked.remove_broken().await?;
    Ok(warnings)
}

pub(crate) async fn remove_shims(locked: &LockedMaster) -> Result<()> {
    shim::remove(&locked.netlink, &locked.master, locked.shims()).await.map(drop)
}

/// Says that a master is left to plain kernel macvlan, for this reason.
pub fn no_bpf(reason: &str, children: usize) -> String {
    format!("{reason}; {children} children run as plain kernel macvlan, which cannot talk to the host")
}

/// Says that a master is left to the kernel and its shim, for this reason.
pub fn shim_instead(reason: &str, master: &Master) -> String {
    format!("{reason}; host and children talk through shim {:?}", shim_name(master))
}
