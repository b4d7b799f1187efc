//! Whether a driver can run XDP programs.

use anyhow::Result;

use crate::{
    commands::doctor::finding::{Finding, Status},
    datapath::choose::{XdpPlan, plan_xdp},
    kernel::genl::{Family, number},
    model::options::XdpChoice,
};

/// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_*`, `NETDEV_XDP_ACT_*` (`include/uapi/linux/netdev.h`).
const CMD_DEV_GET: u8 = 1;

const ATTR_IFINDEX: u16 = 1;

const ATTR_XDP_FEATURES: u16 = 3;

const ACT_BASIC: u64 = 1;

/// What a driver says of XDP (kernel 6.3); `None` where the kernel does not tell.
///
/// # Errors
///
/// Generic netlink is unavailable.
pub fn abilities(index: u32) -> Result<Option<u64>> {
    let Some(family) = Family::find("netdev")? else { return Ok(None) };
    let answer = family.ask(CMD_DEV_GET, ATTR_IFINDEX, &index.to_ne_bytes())?;
    Ok(answer.and_then(|attributes| number(&attributes, ATTR_XDP_FEATURES)))
}

/// Drivers that have `XDP_SETUP_PROG` in kernels which do not tell (before 6.3).
const KNOWN: [&str; 31] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "dpaa2-eth",
    "ena",
    "enetc",
    "fec",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "lan966x-switch",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "octeontx2-nic",
    "qede",
    "sfc",
    "stmmac",
    "thunder-nicvf",
    "tun",
    "veth",
    "virtio_net",
];

/// What that means for a device of this kind and driver.
pub fn judge(abilities: Option<u64>, kind: Option<&str>, driver: Option<&str>) -> Finding {
    let reason = "in the driver, frames are demultiplexed before the kernel makes packet buffers of them";
    let new = |status, found: String| Finding::new(status, "xdp-driver", found, reason);
    let (able, source) = match (abilities, driver) {
        (Some(flags), _) => (Some(flags & ACT_BASIC != 0), "says the driver"),
        (None, Some(driver)) if KNOWN.contains(&driver) => (Some(true), "as the driver is known to"),
        (None, _) => (None, ""),
    };
    match able {
        Some(true) => match plan_xdp(XdpChoice::Auto, kind) {
            XdpPlan::Skip(Some(degraded)) => new(Status::Note, format!("not used: {}", degraded.reason)),
            _ => new(Status::Ok, format!("native XDP, {source}")),
        },
        Some(false) => new(Status::Note, format!("no native XDP, {source}: TC ingress demultiplexes")),
        None => new(Status::Note, "the kernel does not tell; attach tries native XDP, else takes TC".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_own_word_counts_before_the_table() {
        assert_eq!(judge(Some(0), None, Some("ixgbe")).status, Status::Note);
        assert_eq!(judge(Some(ACT_BASIC), None, Some("unheard-of")).status, Status::Ok);
        assert_eq!(judge(None, None, Some("ixgbe")).status, Status::Ok);
        assert_eq!(judge(None, None, Some("unheard-of")).status, Status::Note);
    }

    #[test]
    fn a_driver_that_copies_is_not_used_though_it_could() {
        let found = judge(Some(ACT_BASIC), Some("veth"), Some("veth"));
        assert_eq!(found.status, Status::Note);
        assert!(found.found.contains("copies"), "{}", found.found);
    }

    #[test]
    fn the_table_is_sorted_and_has_each_driver_once() {
        assert!(KNOWN.is_sorted_by(|a, b| a < b));
    }
}
