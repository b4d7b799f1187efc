//! The settings that the programs read with every frame.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use anyhow::{Context as _, Result};
use macvlan_common::{
    child::{Mode, Policy},
    config::Config,
    limit::Pace,
    mac::Mac,
};

use crate::{
    datapath::bpf::{maps::tables::Maps, ports},
    kernel::crash,
    model::{description::Demux, master::Master},
};

impl Maps {
    /// The secrets by which our programs know frames again. Drawn once, before any program is attached; the
    /// programs are told so.
    ///
    /// # Errors
    ///
    /// The kernel gives no random numbers, or the map cannot be written.
    pub fn draw_secrets(&mut self) -> Result<()> {
        // Neither half of the secret, nor the metadata, may look like "none".
        let secret = u64::from(random(1)?) << 32 | u64::from(random(1 << 8)?);
        let config = Config { secret, meta: random(1)?, flags: Config::ATTACHING, ..Config::default() };
        self.config.set(0, config, 0).context("cannot write the configuration map")
    }

    /// Tells the programs that those of TC are in place.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_attached(&mut self) -> Result<()> {
        self.change_config(|config| Config { flags: config.flags & !Config::ATTACHING, ..config })
    }

    /// What the programs are told of their settings.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read_config(&self) -> Result<Config> {
        self.config.get(&0, 0).context("cannot read the configuration map")
    }

    /// The MAC that the programs know the master by.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn master(&self) -> Result<Mac> {
        Ok(Mac::from_key(self.read_config()?.master))
    }

    /// What follows from the master and from its children, by their keys, of which those in `absent` have
    /// devices that are down. While one that is up is in another mode than bridge, nothing goes through a
    /// flood device: it gives no frame to such a child.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn write_config(
        &mut self,
        master: &Master,
        members: &BTreeMap<u64, Policy>,
        absent: &BTreeSet<u64>,
    ) -> Result<()> {
        let is_up = |key: &u64| !absent.contains(key);
        let misses_some = members.keys().any(|key| !is_up(key));
        let is_flooded = |policy: &Policy| policy.is_hosts() || policy.mode() == Mode::Bridge;
        let floods = members.iter().all(|(key, policy)| !is_up(key) || is_flooded(policy));
        let with_mode = |mode: Mode| members.iter().find(|(_, policy)| policy.mode() == mode);
        let flags = Config::flags_of(members.values().copied());
        let loses_tags = flags & Config::PORTS != 0 && ports::may_lose_tags(master);
        self.change_config(|config| Config {
            master: master.mac.key(),
            passthru: with_mode(Mode::Passthru).map_or(0, |(key, _)| *key),
            flags: config.flags & !Config::OF_CHILDREN
                | flags
                | if misses_some { Config::ABSENT } else { 0 }
                | if loses_tags { Config::TAGS_OFF } else { 0 },
            flood: if floods { config.flood } else { 0 },
            other_mac: if config.master == master.mac.key() { config.other_mac } else { 0 },
            ..config
        })
    }

    /// The index of the flood device that the programs use; 0 without.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn flood(&self) -> Result<u32> {
        Ok(self.read_config()?.flood)
    }

    /// Lets the programs use the flood device of this index; 0: none.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_flood(&mut self, index: u32) -> Result<()> {
        self.change_config(|config| Config { flood: index, ..config })
    }

    /// Sets those of [`Config::DROP_UNKNOWN`] and [`Config::VEPA_SWITCH`] that are in `flags`, and
    /// clears the others.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_guard(&mut self, flags: u64) -> Result<()> {
        let others = !(Config::DROP_UNKNOWN | Config::VEPA_SWITCH);
        self.change_config(|config| Config { flags: config.flags & others | flags, ..config })
    }

    /// Whether a child's own device vouches for its frames.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_vouching(&mut self, vouches: bool) -> Result<()> {
        let flag = if vouches { Config::VOUCHED } else { 0 };
        self.change_config(|config| Config { flags: config.flags & !Config::VOUCHED | flag, ..config })
    }

    /// Tells the programs where the demultiplexer is.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_demux(&mut self, demux: Demux) -> Result<()> {
        let flag = match demux {
            Demux::XdpGeneric => Config::XDP_GENERIC,
            Demux::XdpNative => Config::XDP_NATIVE,
            Demux::Tc | Demux::Kernel => 0,
        };
        let others = !(Config::XDP_GENERIC | Config::XDP_NATIVE);
        self.change_config(|config| Config { flags: config.flags & others | flag, ..config })
    }

    /// Whether no program of ours is at TC ingress of the master.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_lean(&mut self, lean: bool) -> Result<()> {
        let flag = if lean { Config::LEAN } else { 0 };
        self.change_config(|config| Config { flags: config.flags & !Config::LEAN | flag, ..config })
    }

    /// Whether the host's MAC is the host's alone, as the driver tells (0), or as sockets of the namespace with this cookie
    /// do.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_strict(&mut self, home: Option<u64>) -> Result<()> {
        let flag = if home.is_some() { Config::STRICT } else { 0 };
        self.change_config(|config| Config {
            flags: config.flags & !Config::STRICT | flag,
            home: home.unwrap_or_default(),
            ..config
        })
    }

    /// Whether requests for a known address go to its owner alone.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_directs(&mut self, directs: bool) -> Result<()> {
        let flag = if directs { Config::DIRECTS } else { 0 };
        self.change_config(|config| Config { flags: config.flags & !Config::DIRECTS | flag, ..config })
    }

    /// How many broadcast and multicast frames a second may come from the wire, and from each child.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn set_storm_limit(&mut self, limit: Option<NonZeroU32>) -> Result<()> {
        let pace = Pace::of_frames(limit.map_or(0, NonZeroU32::get));
        self.pace.set(0, pace, 0).context("cannot write the storm limit")?;
        crash::point("writing the storm limit")?;
        let flag = if limit.is_some() { Config::STORM_GUARD } else { 0 };
        self.change_config(|config| Config { flags: config.flags & !Config::STORM_GUARD | flag, ..config })
    }

    /// Changes what is set, if that changes it.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn change_config(&mut self, change: impl FnOnce(Config) -> Config) -> Result<()> {
        let old = self.config.get(&0, 0).context("cannot read the configuration map")?;
        let new = change(old);
        if new != old {
            self.config.set(0, new, 0).context("cannot write the configuration map")?;
            crash::point("writing the configuration")?;
        }
        Ok(())
    }
}

/// A number that nobody can guess, none below `lowest`.
fn random(lowest: u32) -> Result<u32> {
    loop {
        let number = getrandom::u32().context("cannot draw a random number")?;
        if number >= lowest {
            return Ok(number);
        }
    }
}
