//! Slots of children by their MACs, in an array: a lookup that the JIT inlines.
//!
//! The hash of children ([`names::CHILDREN`](crate::names::CHILDREN)) costs a call into the kernel and two
//! more in there; a frame from the wire only needs the slot to be counted at. What is found here is true. A
//! child that is not here, because its bucket is full or it has just come up again, is in the hash.

/// Entries of a bucket, one cache line.
pub const ENTRIES: usize = 8;

/// A bucket, filled from its beginning: an entry holds the inverse of a MAC's key in its upper 48 bits, the
/// child's slot in the lower 16. One of zeros is that of the broadcast address, which no child has.
pub type Bucket = [u64; ENTRIES];

/// Buckets: 128 KiB; at 4,096 children one child in some 4,000 finds its bucket full.
pub const BUCKETS: u32 = 2048;

const KEY: u64 = 0xffff_ffff_ffff;

/// The number of the bucket that `key` is in, if it is in one.
#[inline(always)]
pub const fn bucket_of(key: u64) -> u32 {
    // As in the filter; BUCKETS is a power of two.
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BUCKETS.ilog2())) as u32
}

/// The slot of the child with this key; `None` where it is not in the bucket. `key` is no group's.
#[inline(always)]
pub fn find(bucket: &Bucket, key: u64) -> Option<u32> {
    let wanted = key ^ KEY;
    for entry in bucket {
        if *entry >> 16 == wanted {
            return Some((*entry & 0xffff) as u32);
        }
        // Behind the first free entry there is none: most frames of a flood meet it at once.
        if *entry == 0 {
            break;
        }
    }
    None
}

/// The entry of a child; `None` where its slot is too high for one.
pub fn entry(key: u64, slot: u32) -> Option<u64> {
    u16::try_from(slot).ok().map(|slot| (key ^ KEY) << 16 | u64::from(slot))
}

/// All buckets that hold these children, given by key and slot, as far as there is room.
#[cfg(any(test, feature = "std"))]
pub fn buckets(children: impl Iterator<Item = (u64, u32)>) -> Vec<Bucket> {
    let mut buckets = vec![[0; ENTRIES]; BUCKETS as usize];
    for (key, slot) in children {
        if let Some(entry) = entry(key, slot)
            && let Some(free) = buckets[bucket_of(key) as usize].iter_mut().find(|entry| **entry == 0)
        {
            *free = entry;
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::Mac;

    fn numbered(number: u16) -> u64 {
        let [high, low] = number.to_be_bytes();
        Mac::new([0x02, 0x42, 0xac, 0x11, high, low]).key()
    }

    #[test]
    fn what_is_found_is_true_and_few_are_not_found() {
        let buckets = buckets((0..4096).map(|number| (numbered(number), u32::from(number))));
        let found = |key| find(&buckets[bucket_of(key) as usize], key);
        let missing = (0..4096).filter(|&number| match found(numbered(number)) {
            Some(slot) => {
                assert_eq!(slot, u32::from(number));
                false
            }
            None => true,
        });
        assert!(missing.count() <= 8);
        assert!((4096..20_000).all(|number| found(numbered(number)).is_none()));
    }

    #[test]
    fn an_empty_bucket_holds_no_unicast_address() {
        for key in [0, 2, numbered(0), KEY - 1] {
            assert_eq!(find(&[0; ENTRIES], key), None);
        }
    }

    #[test]
    fn a_slot_that_does_not_fit_is_left_to_the_hash() {
        assert_eq!(entry(numbered(1), 1 << 16), None);
        assert!(entry(numbered(1), 0xffff).is_some());
    }
}
