//! The filter that tells programs which MACs are certainly no child's.

use anyhow::{Context as _, Result};
use macvlan_common::filter;

use crate::{datapath::bpf::maps::tables::Maps, kernel::crash};

impl Maps {
    /// Writes the word of the filter that `key` is in, as these keys make it.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written.
    pub fn write_filter_word<'a>(&mut self, key: u64, keys: impl Iterator<Item = &'a u64>) -> Result<()> {
        let (index, _) = filter::position(key);
        let positions = keys.map(|key| filter::position(*key));
        let bits = positions.filter(|(word, _)| *word == index).fold(0, |bits, (_, mask)| bits | mask);
        self.filter.set(index, bits, 0).context("cannot write the filter map")
    }

    /// Every word of it.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read_filter(&self) -> Result<Vec<u64>> {
        self.batches.filter.array(filter::WORDS).context("cannot read the filter map")
    }

    /// Writes the words of the filter that differ from those `present`.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn write_filter(&mut self, present: &mut [u64], keys: impl Iterator<Item = u64>) -> Result<()> {
        let mut words = vec![0_u64; filter::WORDS as usize];
        for key in keys {
            let (word, mask) = filter::position(key);
            words[word as usize] |= mask;
        }
        for ((index, old), new) in (0..filter::WORDS).zip(present).zip(words) {
            if *old != new {
                self.filter.set(index, new, 0).context("cannot write the filter map")?;
                *old = new;
                crash::point("writing a word of the filter")?;
            }
        }
        Ok(())
    }
}
