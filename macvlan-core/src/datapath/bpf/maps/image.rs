//! What the maps hold beside the children, remembered so that it can be put back.

use anyhow::{Context as _, Result};
use macvlan_common::{config::Config, limit::Pace};

use crate::datapath::bpf::maps::{neighbour_table::Remembered, tables::Maps};

/// The settings and the table of neighbours.
pub struct Image {
    config: Config,
    pace: Pace,
    neighbours: Remembered,
}

impl Maps {
    /// What the maps hold now beside the children.
    ///
    /// # Errors
    ///
    /// The kernel does not read out a map.
    pub fn image(&self) -> Result<Image> {
        Ok(Image {
            config: self.config.get(&0, 0).context("cannot read the configuration map")?,
            pace: self.pace.get(&0, 0).context("cannot read the storm limit")?,
            neighbours: self.owners.remember()?,
        })
    }

    /// Puts that back. The children are to be in the maps already.
    ///
    /// # Errors
    ///
    /// The kernel does not write a map.
    pub fn put_back(&mut self, image: &Image) -> Result<()> {
        self.pace.set(0, image.pace, 0).context("cannot write the storm limit")?;
        self.change_config(|_| image.config)?;
        self.owners.put_back(&image.neighbours)
    }
}
