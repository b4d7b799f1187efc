//! A bit per group of MACs: "no child has this address" without a hash lookup.
//!
//! Most frames name a MAC that is no child's: the source of a frame from the wire, the
//! destination of a frame to it. One word of [`names::FILTER`](crate::names::FILTER), read by an
//! array lookup that the JIT inlines, settles nearly all of them. A clear bit is certain; a set
//! bit means "look it up". A child whose device is down is not in it.

/// Words of 64 bits in the filter: 16 KiB, 3 % false positives at 4,096 children.
pub const WORDS: u32 = 2048;

const BITS_LOG2: u32 = 17;

/// Where `key`'s bit is: (index of its word, mask within the word).
#[inline(always)]
pub const fn position(key: u64) -> (u32, u64) {
    // Fibonacci hashing: the upper bits of the product depend on every bit of the key.
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS_LOG2);
    ((hash >> 6) as u32, 1 << (hash & 63))
}

const _: () = assert!(WORDS * 64 == 1 << BITS_LOG2);

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut words = vec![0; WORDS as usize];
        for key in keys {
            let (word, mask) = position(key);
            words[word as usize] |= mask;
        }
        words
    }

    fn hit(words: &[u64], key: u64) -> bool {
        let (word, mask) = position(key);
        words[word as usize] & mask != 0
    }

    /// Docker numbers its MACs after the address: 02:42:ac:11:00:02, :03, ...
    fn docker_like(n: u64) -> u64 {
        0x0000_11ac_4202 | (n >> 8 & 0xff) << 32 | (n & 0xff) << 40
    }

    #[test]
    fn every_member_hits() {
        let words = filled((0..4096).map(docker_like));
        assert!((0..4096).all(|n| hit(&words, docker_like(n))));
    }

    #[test]
    fn few_strangers_hit_even_with_numbered_macs() {
        let words = filled((0..4096).map(docker_like));
        let false_hits = (4096..65536).filter(|&n| hit(&words, docker_like(n))).count();
        let share = false_hits as f64 / f64::from(65536 - 4096);
        assert!(share < 0.05, "{share}");
    }
}
