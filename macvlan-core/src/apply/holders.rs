//! Telling the programs for a wire of one MAC who has which address.

use std::collections::BTreeMap;

use anyhow::Result;
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    discovery::{locked_master::LockedMaster, neighbours::Addresses},
    model::child::Child,
};

/// Tells the programs, where they are such; and the wire, where it has to be told.
///
/// # Errors
///
/// Routes cannot be listed, or a map cannot be read or written.
pub async fn tell_holders(locked: &mut LockedMaster, members: &BTreeMap<Mac, Policy>) -> Result<()> {
    let Ok(bpf) = &mut locked.attached else { return Ok(()) };
    if bpf.is_single() {
        let index = locked.master.index;
        let children: Vec<&Child> = locked.observed.of(index).iter().collect();
        let told = Addresses::open()?.holders(index, &children, members).await?;
        bpf.set_holders(&locked.master, &told)?.wait();
    }
    Ok(())
}
