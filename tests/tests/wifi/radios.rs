//! The radios, each with its device in a namespace.

use std::{
    cell::RefCell,
    process::{self, Command},
    sync::{Mutex, MutexGuard, PoisonError},
};

use macvlan_tests::{cli, fail::OrFail as _, lab::Station, netns::Netns, require};

/// The three radios of a machine. One test at a time has them.
pub struct Radios {
    numbers: [u32; 3],
    /// Those that are in a namespace, and this.
    away: RefCell<Vec<(String, Netns)>>,
    _alone: MutexGuard<'static, ()>,
}

impl Radios {
    /// Waits until no other test has them.
    #[track_caller]
    pub fn take() -> Self {
        static TAKEN: Mutex<()> = Mutex::new(());
        let alone = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = require::own_radios().or_fail("find radios");
        Self { numbers, away: RefCell::default(), _alone: alone }
    }

    /// Gives a station one of them: its device, with its MAC, is down yet.
    #[track_caller]
    pub fn give(&self, radio: usize, station: &Station) {
        self.put(radio, &station.ns, &station.dev);
        station.ns.ip(&format!("link set {} address {}", station.dev, station.mac));
    }

    /// Puts one of them into a namespace, with a device of this name.
    #[track_caller]
    pub fn put(&self, radio: usize, ns: &Netns, device: &str) {
        let phy = format!("phy#{}", self.numbers[radio]);
        let path = ns.path().display().to_string();
        cli::run(Command::new("iw").args([&phy, "set", "netns", "name", &path]));
        self.away.borrow_mut().push((phy.clone(), ns.share()));
        let iw = |args: &[&str]| cli::run(ns.command("iw").args(args));
        // As an earlier test left them.
        for link in ns.ip_json("link show").as_array().into_iter().flatten() {
            if let Some(name) = link["ifname"].as_str().filter(|name| *name != "lo") {
                iw(&["dev", name, "del"]);
            }
        }
        iw(&[&phy, "interface", "add", device, "type", "managed"]);
    }
}

impl Drop for Radios {
    fn drop(&mut self) {
        // They would come back by themselves, but only once nothing at all holds the namespace.
        for (phy, ns) in self.away.take() {
            let here = process::id().to_string();
            let moved = ns.command("iw").args([&phy, "set", "netns", &here]).status();
            if !moved.is_ok_and(|status| status.success()) {
                eprintln!("{phy} is left in a namespace");
            }
        }
    }
}
