//! A macvlan of the host's own that stands in for the data path.

use macvlan_common::{child::Mode, mac::Mac};

use crate::{
    kernel::{
        ifname::IfName,
        netlink::{
            link::Link,
            shim::{SHIM_ALIAS, UNFINISHED_SHIM_GROUP},
        },
    },
    model::master::Master,
};

/// A shim that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Made to its end, and up.
    pub finished: bool,
}

impl Shim {
    /// The shim behind a link of the master's own namespace; `None` when it is none of ours.
    pub fn from_link(link: &Link) -> Option<Self> {
        let is_macvlan = link.kind.as_deref() == Some("macvlan") && link.lower_nsid.is_none();
        let is_marked = link.alias.as_deref() == Some(SHIM_ALIAS);
        let is_unfinished = link.group == UNFINISHED_SHIM_GROUP && link.alias.is_none() && !link.up;
        if !is_macvlan || !(is_marked || is_unfinished) {
            return None;
        }
        let finished = is_marked && link.up && link.mode == Some(Mode::Bridge);
        Some(Self { index: link.index, name: link.name.clone(), mac: link.mac?, finished })
    }
}

/// The name of a master's shim: no longer than a name may be.
pub fn shim_name(master: &Master) -> String {
    let name = format!("mvshim-{}", master.name);
    if name.len() <= IfName::MAX_LEN { name } else { format!("mvshim.{:x}", master.index) }
}
