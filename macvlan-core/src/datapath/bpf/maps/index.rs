//! The index by which programs find the slot of a child without asking the hash of children.

use anyhow::{Context as _, Result};
use macvlan_common::index::{self, BUCKETS, Bucket};

use crate::{datapath::bpf::maps::tables::Maps, kernel::crash};

impl Maps {
    /// Writes the bucket of the index that `key` is in, as these children make it, by key and slot.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn write_bucket(&mut self, key: u64, children: impl Iterator<Item = (u64, u32)>) -> Result<()> {
        let number = index::bucket_of(key);
        let bucket = index::buckets(children.filter(|(key, _)| index::bucket_of(*key) == number));
        self.index.set(number, bucket[number as usize], 0).context("cannot write the index map")?;
        crash::point("writing a bucket of the index")?;
        Ok(())
    }

    /// Every bucket of it.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read_index(&self) -> Result<Vec<Bucket>> {
        self.batches.index.array(BUCKETS).context("cannot read the index map")
    }

    /// Writes the buckets that differ from those `present`.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn write_index(
        &mut self,
        present: &mut [Bucket],
        children: impl Iterator<Item = (u64, u32)>,
    ) -> Result<()> {
        for ((number, old), new) in (0..BUCKETS).zip(present).zip(index::buckets(children)) {
            if *old != new {
                self.index.set(number, new, 0).context("cannot write the index map")?;
                *old = new;
                crash::point("writing a bucket of the index")?;
            }
        }
        Ok(())
    }
}
