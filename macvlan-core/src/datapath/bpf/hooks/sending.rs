//! The two programs on the macvlan driver, where a master is strict: they say when one of its macvlans sends.
//!
//! Their links are pinned beside the master's, under names with the master's index and namespace: of a master that went
//! to another, others are put in place. The kernel has no detaching of such links: with the pin they go, as soon as a
//! worker of the kernel gets to it, and cost time and nothing else until then.

use std::{ffi::CStr, path::Path};

use anyhow::Result;
use macvlan_common::names;

use crate::{
    datapath::bpf::hooks::{
        driver_program::{Driver, Lower},
        link::{open_pinned, pin_open, pinned_link_program},
    },
    kernel::{bpffs, crash},
};

/// Start of the name of each pin.
const PIN: &str = "sending_";

/// Names of the programs.
const BEGIN: &CStr = c"macvlan_begin";
const END: &CStr = c"macvlan_end";

/// Puts both in place for this master, unless they are, and takes away those for another.
///
/// # Errors
///
/// The kernel refuses them: none is there then.
pub fn put(directory: &Path, lower: Lower) -> Result<()> {
    if are_whole(directory, lower) {
        return Ok(());
    }
    remove(directory)?;
    let put = || -> Result<()> {
        let (driver, map) = (Driver::find()?, open_pinned(&directory.join(names::SENDING))?);
        let [begin, end] = pins(lower);
        // Whoever is told to have begun must be told to have ended.
        pin_open(&directory.join(end), &driver.put_behind(END, &map)?)?;
        crash::point("pinning a link to the driver")?;
        pin_open(&directory.join(begin), &driver.put_before(BEGIN, &map, lower)?)?;
        crash::point("pinning a link to the driver")
    };
    put().inspect_err(|_| drop(remove(directory)))
}

/// Whether both are in place for this master.
pub fn are_whole(directory: &Path, lower: Lower) -> bool {
    pins(lower).iter().all(|pin| pinned_link_program(&directory.join(pin)).is_ok())
}

/// Takes both away, those for another master too.
///
/// # Errors
///
/// A pin cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    let mut names: Vec<String> =
        bpffs::names_in(directory)?.into_iter().filter(|name| is_pin(name)).collect();
    // The one before the driver's function first.
    names.sort_unstable();
    for name in names {
        bpffs::remove_pin(&directory.join(name))?;
        crash::point("removing a link to the driver")?;
    }
    Ok(())
}

/// Whether a pin of this name is of one of them.
pub fn is_pin(name: &str) -> bool {
    name.starts_with(PIN)
}

fn pins(Lower { index, netns }: Lower) -> [String; 2] {
    ["begin", "end"].map(|which| format!("{PIN}{which}_{index}_{netns}"))
}
