//! What carries the frames of a master, and what could.

use anyhow::Result;

use crate::{
    datapath::{
        Datapath,
        bpf::{
            attached::{Bpf, Found},
            probe::{self, Depth},
        },
        kernel::Kernel,
    },
    discovery::children::Observed,
    kernel::netlink::Netlink,
    model::{child::Child, master::Master},
};

/// The programs on a master; `Err` says why there are none.
pub type Attached = Result<Box<Bpf>, String>;

/// The programs on `master`, or why there are none; and whether unusable remains of some are there.
pub async fn find_datapath(netlink: &Netlink, master: &Master) -> (Attached, bool) {
    let found = look_for_datapath(netlink, master, Depth::Whole).await;
    (found.attached, found.broken)
}

/// What is on a master, and what could be.
pub struct FoundDatapath {
    /// The programs, or why there are none.
    pub attached: Attached,
    /// Unusable remains of some are there.
    pub broken: bool,
    /// Why this machine lets us have no BPF, where nothing usable is attached and that is so.
    pub refusal: Option<String>,
}

/// Looks at a master and, where no data path is on it, tries whether one could be: as far as `depth`
/// goes.
pub async fn look_for_datapath(netlink: &Netlink, master: &Master, depth: Depth) -> FoundDatapath {
    let refusal = || probe::probe(depth).err().map(|error| probe::refusal_text(&error));
    look_for_datapath_or(netlink, master, refusal).await
}

/// Looks at a master and, where no data path is on it, asks why there could be none.
pub async fn look_for_datapath_or(
    netlink: &Netlink,
    master: &Master,
    refusal: impl FnOnce() -> Option<String>,
) -> FoundDatapath {
    let found = Bpf::find(netlink, master).await;
    if let Found::Whole(bpf) = found {
        return FoundDatapath { attached: Ok(bpf), broken: false, refusal: None };
    }
    let refusal = refusal();
    let (reason, broken) = match found {
        Found::Broken(reason) => (reason, true),
        _ => {
            let not_attached = format!("not attached: macvlan-ctl attach {}", master.name);
            (refusal.clone().unwrap_or(not_attached), false)
        }
    };
    FoundDatapath { attached: Err(reason), broken, refusal }
}

/// The data path of a master: the programs, or the driver and what it tells, and why not more.
///
/// # Errors
///
/// The children's statistics cannot be read.
pub async fn datapath_of(
    netlink: &Netlink,
    master: &Master,
    attached: Attached,
    observed: &Observed,
) -> Result<Box<dyn Datapath>> {
    let children: Vec<&Child> = observed.of(master.index).iter().collect();
    match attached {
        Ok(mut bpf) => {
            bpf.look_at_devices(&children).await?;
            Ok(bpf)
        }
        Err(reason) => {
            let shims = observed.shims_of(master.index);
            Ok(Box::new(Kernel::look(netlink, master, shims, &children, reason).await?))
        }
    }
}
