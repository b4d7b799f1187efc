//! One MAC on the wire: whether it is wanted, who has which address there, and what the wire is told.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::Result;
use macvlan_common::{mac::Mac, names};

use crate::{
    datapath::{
        announce::{Announcing, announce_on_wire},
        bpf::{attached::Bpf, hooks::tc::Hooks, maps::holders::HolderTable},
    },
    kernel::wireless::{self, Wireless},
    model::{
        held::{AddressTrouble, Held, ToldHolders},
        master::Master,
        options::{OptionValues, SingleMac},
    },
};

/// How long what comes in is still given to children after the wire was told that they have their own MACs again.
const TURNING: Duration = Duration::from_secs(1);

/// Whether children of `master` are to speak with its MAC on the wire.
pub fn is_single(options: &OptionValues, master: &Master) -> bool {
    is_on(options.single_mac, || wireless::role(master.index).ok().flatten())
}

/// `auto` is on where the wire certainly carries no other MAC.
fn is_on(choice: SingleMac, role: impl FnOnce() -> Option<Wireless>) -> bool {
    match choice {
        SingleMac::Off => false,
        SingleMac::On => true,
        SingleMac::Auto => role() == Some(Wireless::Station),
    }
}

impl Bpf {
    /// Whether its programs are those for a wire that carries one MAC.
    pub fn is_single(&self) -> bool {
        self.record.single
    }

    /// Whether `auto` comes to other programs than these by now: a wireless device has another use than before.
    pub fn differs_from_auto(&self, master: &Master) -> bool {
        let options = self.record.options;
        options.single_mac == SingleMac::Auto && is_single(&options, master) != self.record.single
    }

    /// Tells the programs what netlink does, where they are for a wire of one MAC; and tells the wire, where that is new to
    /// it.
    ///
    /// # Errors
    ///
    /// A map cannot be read or written.
    pub fn set_holders(&mut self, master: &Master, told: &ToldHolders) -> Result<Announcing> {
        if !self.record.single {
            return Ok(Announcing::default());
        }
        let children: BTreeSet<Mac> = self.members.policies.keys().copied().collect();
        HolderTable::open(&self.directory)?.set(told, &children)?;
        if !std::mem::take(&mut self.is_new_to_wire) {
            return Ok(Announcing::default());
        }
        let hosts = told.holders.iter().filter(|(_, holder)| holder.is_none()).map(|(address, _)| *address);
        let mut at_master: Vec<(IpAddr, Mac)> = hosts.map(|address| (address, master.mac)).collect();
        at_master.extend(self.held_untagged()?.into_iter().map(|held| (held.address, master.mac)));
        Ok(announce_on_wire(master.index, &at_master))
    }

    /// What is wrong with the addresses of the children, as far as the programs hear it.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn address_trouble(&self) -> Result<AddressTrouble> {
        let contested = self.maps.owners.contested()?;
        if !self.record.single {
            return Ok(AddressTrouble { contested, ..AddressTrouble::default() });
        }
        let table = HolderTable::open(&self.directory)?;
        Ok(AddressTrouble { contested, full: table.full()?, is_table_full: table.len()? >= table.room() })
    }

    fn held_untagged(&self) -> Result<Vec<Held>> {
        Ok(HolderTable::open(&self.directory)?.held()?.into_iter().filter(|held| held.vlan == 0).collect())
    }

    /// Puts the programs of these hooks on the master: those that give the children their own MACs again. What comes in for
    /// the master's is given to them until the wire knows.
    pub(crate) async fn end_single(&mut self, master: &Master, hooks: &mut Hooks<'_>) -> Result<()> {
        hooks.replace_tc_program(names::EGRESS, master, self.record.hairpin)?;
        tell_own(master, &self.own_addresses()?).await;
        hooks.replace_tc_program(names::INGRESS, master, self.record.hairpin)
    }

    /// The addresses on the wire that are at a child's own MAC without these programs.
    pub(crate) fn own_addresses(&self) -> Result<Vec<(IpAddr, Mac)>> {
        if !self.record.single {
            return Ok(Vec::new());
        }
        Ok(self.held_untagged()?.into_iter().map(|held| (held.address, held.mac)).collect())
    }

    /// Puts the programs of these hooks on the master: those that give the children its MAC. What was heard when they were
    /// there before is void: it was kept in case that ending it failed.
    pub(crate) fn begin_single(&mut self, master: &Master, hooks: &mut Hooks<'_>) -> Result<()> {
        HolderTable::open(&self.directory)?.set(&ToldHolders::default(), &BTreeSet::new())?;
        hooks.replace_tc(master, self.record.hairpin)?;
        self.is_new_to_wire = true;
        Ok(())
    }
}

/// Tells the wire that these addresses are at their children's own MACs, and gives it time to hear: what comes in for the
/// master's is given to them meanwhile.
pub(crate) async fn tell_own(master: &Master, own: &[(IpAddr, Mac)]) {
    if own.is_empty() || !master.up {
        return;
    }
    let announcing = announce_on_wire(master.index, own);
    tokio::time::sleep(TURNING).await;
    announcing.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_on_for_a_station_that_sends_no_four_addresses_and_asks_only_then() {
        let auto = |role| is_on(SingleMac::Auto, || role);
        assert!(auto(Some(Wireless::Station)));
        for role in
            [None, Some(Wireless::FourAddressStation), Some(Wireless::AccessPoint), Some(Wireless::Other)]
        {
            assert!(!auto(role), "{role:?}");
        }
        let nobody_asks = || panic!("asked");
        assert!(is_on(SingleMac::On, nobody_asks) && !is_on(SingleMac::Off, nobody_asks));
    }
}
