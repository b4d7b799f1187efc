//! Reading many entries of a map by one call (`BPF_MAP_LOOKUP_BATCH`, kernel 5.6), which aya 0.14 has no
//! function for.

use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{Pod, maps::MapData};
use aya_obj::generated::{bpf_attr, bpf_cmd};

/// Entries by the first call for a hash: enough for most maps.
const HASH_ENTRIES: usize = 256;

/// More than one bucket of a hash never holds.
const MOST_ENTRIES: usize = 1 << 20;

/// A map to be read as a whole.
pub struct Batch(OwnedFd);

impl Batch {
    /// Reads this map.
    ///
    /// # Errors
    ///
    /// The process has too many files open.
    pub fn of(map: &MapData) -> Result<Self> {
        Ok(Self(map.fd().as_fd().try_clone_to_owned().context("cannot keep a map open")?))
    }

    /// The values of the first `len` elements of an array.
    ///
    /// # Errors
    ///
    /// The process lacks `CAP_BPF`, or the array is shorter.
    pub fn array<V: Pod>(&self, len: u32) -> io::Result<Vec<V>> {
        let mut values: Vec<V> = Vec::with_capacity(len as usize);
        let mut place = 0_u32;
        while values.len() < len as usize {
            let room = len as usize - values.len();
            let (mut keys, mut more) = (Vec::<u32>::with_capacity(room), Vec::<V>::with_capacity(room));
            let begin = (!values.is_empty()).then_some(place);
            let is_last = self.read(begin, &mut place, &mut keys, &mut more, 1)?;
            let is_stuck = more.is_empty();
            values.append(&mut more);
            if values.len() < len as usize && (is_last || is_stuck) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(values)
    }

    /// All entries of a hash with one value per key.
    ///
    /// # Errors
    ///
    /// The process lacks `CAP_BPF`.
    pub fn hash<K: Pod, V: Pod>(&self) -> io::Result<Vec<(K, V)>> {
        let (keys, values) = self.hash_of::<K, V>(1)?;
        Ok(keys.into_iter().zip(values).collect())
    }

    /// The keys of a hash with `cpus` values per key, and for each key the value of the first CPU.
    ///
    /// # Errors
    ///
    /// The process lacks `CAP_BPF`.
    pub fn first_of_each_cpu<K: Pod, V: Pod>(&self, cpus: usize) -> io::Result<Vec<(K, V)>> {
        const { assert!(size_of::<V>().is_multiple_of(8), "the kernel rounds a CPU's value up") };
        let (keys, values) = self.hash_of::<K, V>(cpus)?;
        Ok(keys.into_iter().zip(values.into_iter().step_by(cpus)).collect())
    }

    fn hash_of<K: Pod, V: Pod>(&self, per_key: usize) -> io::Result<(Vec<K>, Vec<V>)> {
        let (mut all_keys, mut all_values) = (Vec::new(), Vec::new());
        let (mut begin, mut place, mut room) = (None, 0_u32, HASH_ENTRIES);
        loop {
            let (mut keys, mut values) = (Vec::with_capacity(room), Vec::with_capacity(room * per_key));
            match self.read(begin, &mut place, &mut keys, &mut values, per_key) {
                Ok(is_last) => {
                    all_keys.append(&mut keys);
                    all_values.append(&mut values);
                    if is_last {
                        return Ok((all_keys, all_values));
                    }
                    begin = Some(place);
                }
                // A bucket has more entries than there was room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < MOST_ENTRIES => room *= 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads on from `begin`, as far as there is room for keys; says whether that was the last of it.
    fn read<K: Pod, V: Pod>(
        &self,
        begin: Option<u32>,
        place: &mut u32,
        keys: &mut Vec<K>,
        values: &mut Vec<V>,
        per_key: usize,
    ) -> io::Result<bool> {
        let begin = begin.as_ref().map_or(0, |begin| std::ptr::from_ref(begin) as u64);
        // SAFETY: all zeros are a value of every field of the union.
        let mut attributes: bpf_attr = unsafe { mem::zeroed() };
        attributes.batch.in_batch = begin;
        attributes.batch.out_batch = std::ptr::from_mut(place) as u64;
        attributes.batch.keys = keys.as_mut_ptr() as u64;
        attributes.batch.values = values.as_mut_ptr() as u64;
        let room = keys.capacity().min(values.capacity() / per_key);
        attributes.batch.count = u32::try_from(room).unwrap_or(u32::MAX);
        attributes.batch.map_fd = self.0.as_raw_fd().unsigned_abs();
        // SAFETY: the addresses are those of live buffers with room for `count` keys and their values, and of
        // two words that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_MAP_LOOKUP_BATCH as libc::c_int,
                &raw mut attributes,
                size_of::<bpf_attr>(),
            )
        };
        let is_last = match result {
            0 => false,
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOENT) => true,
                error => return Err(error),
            },
        };
        // SAFETY: the call read this field, and the kernel wrote it.
        let count = unsafe { attributes.batch.count } as usize;
        // SAFETY: the kernel has written so many keys, which any bytes make.
        unsafe { keys.set_len(count) };
        // SAFETY: likewise, the values of each key.
        unsafe { values.set_len(count * per_key) };
        Ok(is_last)
    }
}
