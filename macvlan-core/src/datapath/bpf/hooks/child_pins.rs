//! What the pins for children's own devices tell. The name of each says for which device it was made and with which MAC.
//! Its link, or the map that it is where no program is wanted on the device, knows of that device as long as that is there:
//! so this is known of a device whatever it says of itself, and only root writes it. A device that went to another namespace
//! is new there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::bpf::hooks::{
        device_pin::index_at,
        link::{detach_link, pinned_link_ifindex},
    },
    kernel::{bpffs, master_key::MasterKey, netlink::events::changed::DeviceKey},
    model::child::Child,
};

/// How the names begin, all of one length: of a child that is held to its MAC, of one that is held to the MAC that it has and
/// may change it, of one that is not held; and of one without a program, whose settings are its device's.
const HELD: &str = "child_held_";
const FREE: &str = "child_free_";
const SEEN: &str = "child_seen_";
const NOTE: &str = "child_note_";

/// Of one that lists the MACs of others, and does not hear them.
const DEAF: &str = "child_deaf_";

/// Stands for the master's own namespace.
const OWN: &str = "own";

/// The name of the pin for a child with this policy. The BPF file system allows no dots, and colons are left out.
pub fn pin_name(child: &Child, policy: Policy) -> String {
    let start = match (policy.is_guarded(), policy.mac_change()) {
        _ if !policy.wants_vouching() => NOTE,
        (true, false) => HELD,
        (true, true) => FREE,
        (false, _) => SEEN,
    };
    name(start, child.mac, child.key())
}

/// The name of the pin for the program that keeps from a child what it is not to hear.
pub fn deaf_name(child: &Child) -> String {
    name(DEAF, child.device_mac(), child.key())
}

fn name(start: &str, mac: Mac, (nsid, index): DeviceKey) -> String {
    let nsid = nsid.map_or_else(|| OWN.to_owned(), |nsid| nsid.to_string());
    format!("{start}{:012x}_{nsid}_{index}", number(mac))
}

/// Whether a pin of this name is for a child's device.
pub fn is_pin(name: &str) -> bool {
    [HELD, FREE, SEEN, NOTE, DEAF].iter().any(|start| name.starts_with(start))
}

fn number(mac: Mac) -> u64 {
    mac.octets().iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// The device and the MAC that a pin is for.
fn parse(name: &str) -> Option<(DeviceKey, Mac)> {
    let rest = [HELD, FREE, SEEN, NOTE].iter().find_map(|start| name.strip_prefix(start))?;
    let mut words = rest.split('_');
    let number = u64::from_str_radix(words.next()?, 16).ok()?.to_be_bytes();
    let nsid = words.next()?;
    let nsid = if nsid == OWN { None } else { Some(nsid.parse().ok()?) };
    let index = words.next()?.parse().ok()?;
    // What is to take another one's place has a word behind.
    let [_, _, mac @ ..] = number;
    Some(((nsid, index), Mac::new(mac)))
}

/// Whether the device that has this index is still the one that the pin of this name is for: of one that is gone, neither link
/// nor map knows.
pub fn is_alive(directory: &Path, name: &str, index: u32) -> bool {
    let pin = directory.join(name);
    let of = if name.starts_with(NOTE) { index_at(&pin) } else { pinned_link_ifindex(&pin).ok() };
    of == Some(index)
}

/// The pins of one master.
pub struct ChildPins {
    directory: PathBuf,
    by_device: BTreeMap<DeviceKey, Vec<(Mac, String)>>,
    deaf: BTreeSet<String>,
}

impl ChildPins {
    /// Those of the master with this index in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// They cannot be listed, or `/proc` is not mounted on a kernel without namespace cookies.
    pub fn of(master: u32) -> Result<Self> {
        let directory = bpffs::root().join(MasterKey::of(master)?.to_string());
        let mut by_device: BTreeMap<DeviceKey, Vec<(Mac, String)>> = BTreeMap::new();
        let mut deaf = BTreeSet::new();
        for name in bpffs::names_in(&directory)? {
            if let Some((key, mac)) = parse(&name) {
                by_device.entry(key).or_default().push((mac, name));
            } else if name.starts_with(DEAF) {
                deaf.insert(name);
            }
        }
        Ok(Self { directory, by_device, deaf })
    }

    /// Finds out of each child in another namespace whether its device has another MAC than it had when its pin was
    /// made. One that is held to its MAC has that still, and no other device can have it; of others it is
    /// known which they had.
    pub fn hold(&self, children: &mut [Child]) {
        let mut held = BTreeSet::new();
        for child in children.iter_mut().filter(|child| child.is_in_foreign_hands()) {
            let name = deaf_name(child);
            child.is_deaf = self.deaf.contains(&name) && is_alive(&self.directory, &name, child.index);
            let mut pins = self.by_device.get(&child.key()).into_iter().flatten();
            // The device with that number may be another one by now: the link of one that is gone has none.
            let is_its = |(mac, name): &&(Mac, String)| {
                *mac == child.mac || is_alive(&self.directory, name, child.index)
            };
            let own = pins.clone().find(|(mac, _)| *mac == child.mac).or_else(|| pins.find(is_its));
            let Some((mac, name)) = own else { continue };
            child.program_mac = Some(*mac);
            if name.starts_with(HELD) {
                held.insert(*mac);
                if *mac != child.mac {
                    child.other_mac = Some(std::mem::replace(&mut child.mac, *mac));
                }
            }
        }
        for child in children.iter_mut().filter(|child| child.program_mac != Some(child.mac)) {
            child.usurps = child.is_in_foreign_hands() && held.contains(&child.mac);
        }
    }

    /// Takes the programs off a device that gets another MAC from us.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn release(&self, key: DeviceKey) -> Result<()> {
        let mut pins = self.by_device.get(&key).into_iter().flatten();
        pins.try_for_each(|(_, name)| detach_link(&self.directory.join(name)))
    }
}

/// The children of a master as they count here, by what is known of their devices.
pub fn as_held(master: u32, children: &[&Child]) -> Vec<Child> {
    let mut children: Vec<Child> = children.iter().map(|child| (*child).clone()).collect();
    if let Ok(pins) = ChildPins::of(master) {
        pins.hold(&mut children);
    }
    children
}

/// The master is in another namespace now, which has numbers of its own for others: the names say nothing any more.
///
/// # Errors
///
/// A pin cannot be renamed.
pub fn forget_devices(directory: &Path) -> Result<()> {
    for name in bpffs::names_in(directory)? {
        let start = name.len().min(HELD.len() + 12);
        if is_pin(&name) && start < name.len() {
            let (from, to) = (directory.join(&name), directory.join(&name[..start]));
            fs::rename(&from, to).with_context(|| format!("cannot rename {from:?}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::{AntiSpoof, Mode};

    use super::*;
    use crate::kernel::netns::place::Place;

    #[test]
    fn a_name_says_which_device_and_which_mac() {
        let mac = Mac::new([2, 0, 0, 0, 0, 0xab]);
        let held = Policy::new(Mode::Bridge, true).with_anti_spoof(AntiSpoof::Mac);
        let open = Policy::new(Mode::Bridge, false);
        let policies = [held, held.with_mac_change(true), Policy::new(Mode::Passthru, true), open];
        for nsid in [None, Some(3), Some(-7)] {
            let child = Child { place: Place { nsid, label: None }, ..Child::example("web", mac) };
            for policy in policies {
                let name = pin_name(&child, policy);
                assert!(is_pin(&name), "{name}");
                assert_eq!(parse(&name), Some((child.key(), mac)), "{name}");
            }
        }
        assert_eq!(pin_name(&Child::example("web", mac), held), "child_held_0200000000ab_own_7");
        assert!([FREE, SEEN, NOTE, DEAF].iter().all(|start| start.len() == HELD.len()));
        for name in ["child_held_0200000000ab", "child_held_0200000000ab_x_7", "own_7", "child_held_x_1_1"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
