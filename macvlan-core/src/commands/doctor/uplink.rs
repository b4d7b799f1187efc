//! Virtual machines: what stands behind their network card may let one MAC pass and no other.

use std::fs;

use crate::commands::doctor::finding::{Finding, Status};

/// Who made the machine (`/sys/class/dmi/id/sys_vendor`); `None` where it does not tell.
pub fn vendor() -> Option<String> {
    let text = fs::read_to_string("/sys/class/dmi/id/sys_vendor").ok()?;
    Some(text.trim().chars().filter(|c| !c.is_control()).take(64).collect())
}

/// A hypervisor or cloud, how to tell it, and what is to be switched on there.
struct Uplink {
    name: &'static str,
    vendors: &'static [&'static str],
    drivers: &'static [&'static str],
    remedy: &'static str,
}

const CLOUD: &str = "macvlan-ctl attach NAME --single-mac, and give the card each child's address there (a secondary \
                     private address, an alias range); or routed addresses";

/// By vendor first, as a driver such as virtio_net serves many.
const UPLINKS: [Uplink; 7] = [
    Uplink { name: "Amazon EC2", vendors: &["Amazon EC2"], drivers: &["ena"], remedy: CLOUD },
    Uplink { name: "Google Compute Engine", vendors: &["Google"], drivers: &["gve"], remedy: CLOUD },
    Uplink {
        name: "VMware",
        vendors: &["VMware"],
        drivers: &["vmxnet3"],
        remedy: "on the port group, accept promiscuous mode (or MAC learning) and forged transmits",
    },
    Uplink {
        name: "Hyper-V or Azure",
        vendors: &["Microsoft Corporation"],
        drivers: &["hv_netvsc", "mana"],
        remedy: "Hyper-V: Set-VMNetworkAdapter -MacAddressSpoofing On; Azure lets no other MAC pass",
    },
    Uplink {
        name: "VirtualBox",
        vendors: &["innotek GmbH"],
        drivers: &["vboxnet"],
        remedy: "in the adapter's settings, set promiscuous mode to \"Allow All\"",
    },
    Uplink {
        name: "Xen",
        vendors: &["Xen"],
        drivers: &["xen_netfront", "vif"],
        remedy: "turn the MAC filter and locking mode of the virtual interface off",
    },
    Uplink {
        name: "KVM (virtio)",
        vendors: &["QEMU"],
        drivers: &["virtio_net"],
        remedy: "libvirt: trustGuestRxFilters=\"yes\" for a direct interface, no clean-traffic filter; \
                 Proxmox: turn the MAC filter of the interface's firewall off",
    },
];

/// What vendor and driver mean for a device; nothing for one that no hypervisor made.
pub fn judge(vendor: Option<&str>, driver: Option<&str>) -> Option<Finding> {
    let driver = driver?;
    let uplink = UPLINKS.iter().find(|uplink| uplink.drivers.contains(&driver))?;
    // A virtio card says nothing about who is behind it; the vendor does.
    let behind = vendor.and_then(|vendor| {
        UPLINKS.iter().find(|uplink| uplink.vendors.iter().any(|known| vendor.starts_with(known)))
    });
    let uplink = behind.unwrap_or(uplink);
    let found = format!("{driver}: a virtual network card, by {}", uplink.name);
    let reason = "a hypervisor may drop what comes from or goes to any MAC but the one that it gave the card";
    Some(Finding::new(Status::Note, "uplink", found, reason).remedy(uplink.remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtio_card_is_judged_by_who_made_the_machine() {
        let found = |vendor, driver| judge(vendor, Some(driver)).unwrap().found;
        assert!(found(Some("Google"), "virtio_net").contains("Google"));
        assert!(found(Some("QEMU"), "virtio_net").contains("KVM"));
        assert!(found(None, "virtio_net").contains("KVM"));
        assert!(found(Some("VMware, Inc."), "vmxnet3").contains("VMware"));
    }

    #[test]
    fn real_cards_and_software_devices_are_not_spoken_of() {
        assert_eq!(judge(Some("QEMU"), Some("ixgbe")), None);
        assert_eq!(judge(Some("VMware, Inc."), Some("veth")), None);
        assert_eq!(judge(None, None), None);
    }

    #[test]
    fn every_uplink_has_a_remedy() {
        for uplink in UPLINKS {
            assert!(!uplink.remedy.is_empty() && !uplink.drivers.is_empty(), "{}", uplink.name);
        }
    }
}
