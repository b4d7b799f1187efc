//! The programs on the flood device.

use std::path::Path;

use anyhow::Result;
use aya::programs::TcAttachType;
use macvlan_common::names;

use crate::datapath::bpf::hooks::tc::{
    PRIORITY_EGRESS, PRIORITY_INGRESS, add_clsact, attach_filter, open_pinned_program,
};

/// Puts the programs that are pinned in `directory` on the flood device of this name, which has none yet. They
/// go with the device.
///
/// They are filters, whatever is on the master: nobody else has programs on this device, a filter needs no pin,
/// and the kernel waits for all processors after each TCX link (`tcx_entry_sync` in include/net/tcx.h), but not
/// after a filter.
///
/// # Errors
///
/// The device is gone, or the kernel knows no clsact qdisc or no BPF filters.
pub fn put(directory: &Path, device: &str) -> Result<()> {
    add_clsact(device)?;
    let hooks = [
        (names::FLOOD_INGRESS, TcAttachType::Ingress, PRIORITY_INGRESS),
        (names::FLOOD_EGRESS, TcAttachType::Egress, PRIORITY_EGRESS),
    ];
    for (name, hook, priority) in hooks {
        attach_filter(&mut open_pinned_program(directory, name)?, device, hook, priority)?;
    }
    Ok(())
}
