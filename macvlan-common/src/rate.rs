//! How much one child may receive and send: token buckets for bits and for frames.
//!
//! A bucket is a clock: the time at which all that was let through is paid for at the rate (the
//! virtual scheduling form of the generic cell rate algorithm, ITU-T I.371). A frame is let through
//! while that is less than a burst ahead, whatever its size, so that one that stands for many is not
//! kept out by a small burst; it then moves the clock on by the time it takes. It is moved by adding,
//! which no CPU can undo for another: two that let frames through at the same moment may go beyond
//! the burst by a frame, and pay for both.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Highest rate, in bits or frames a second.
pub const MOST: u64 = 1_000_000_000_000;

/// Largest burst, in bytes: what it takes at the lowest rate still fits the clock.
pub const MOST_BURST: u64 = 1 << 30;

/// A rate, and how far what was let through is ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Bucket {
    /// Bits or frames a second; 0 is no limit.
    pub rate: u64,
    /// Nanoseconds that the clock may be ahead.
    pub ahead: u64,
    /// When all that was let through is paid for, in nanoseconds of `CLOCK_MONOTONIC`.
    pub paid: u64,
}

impl Bucket {
    /// A full bucket of `burst` bits or frames, that `rate` of them a second flow into; 0 is no limit.
    /// Neither is above [`MOST`] or 8 times [`MOST_BURST`].
    pub const fn new(rate: u64, burst: u64) -> Self {
        let empty = Self { rate, ahead: 0, paid: 0 };
        let ahead = empty.time_of(burst);
        // Less than a nanosecond would let nothing through.
        Self { ahead: if ahead == 0 { 1 } else { ahead }, ..empty }
    }

    /// Nanoseconds that so many bits or frames take; of a bucket without limit, 0.
    ///
    /// 2^34 bits, which no frame has, are the most whose nanoseconds fit.
    #[inline(always)]
    pub const fn time_of(&self, amount: u64) -> u64 {
        match amount.wrapping_mul(SECOND).checked_div(self.rate) {
            Some(time) => time,
            None => 0,
        }
    }

    /// Whether a frame may be let through `now`, at a clock of `paid`.
    #[inline(always)]
    pub const fn has_room(&self, paid: u64, now: u64) -> bool {
        self.rate == 0 || paid.wrapping_sub(now).cast_signed() < self.ahead.cast_signed()
    }
}

/// From when on a frame that is let through `now` is paid for, and when it would leave were the
/// rate that of a cable: credit for the time before now is not given.
#[inline(always)]
pub const fn begins(paid: u64, now: u64) -> u64 {
    if paid.wrapping_sub(now).cast_signed() < 0 { now } else { paid }
}

/// One direction of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Meter {
    /// Layer 2 without FCS, as it is counted.
    pub bits: Bucket,
    /// As they are counted: an offloaded frame is those it stands for.
    pub frames: Bucket,
    /// The burst that `bits` was made from, in bytes.
    pub burst: u64,
}

impl Meter {
    /// Bits a second with a burst in bytes, and frames a second with a burst in frames; a rate of 0 is
    /// no limit.
    pub const fn new(bits: u64, burst: u64, frames: u64, frames_at_once: u64) -> Self {
        Self { bits: Bucket::new(bits, burst * 8), frames: Bucket::new(frames, frames_at_once), burst }
    }

    /// The same, whatever was let through.
    pub const fn unused(&self) -> Self {
        let (bits, frames) = (Bucket { paid: 0, ..self.bits }, Bucket { paid: 0, ..self.frames });
        Self { bits, frames, burst: self.burst }
    }
}

/// Both directions of a child, as it sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Meters {
    /// What it receives.
    pub rx: Meter,
    /// What it sends.
    pub tx: Meter,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Offers frames of so many bits at these times; gives the bits let through, and when each that was
    /// would leave.
    fn offer(bucket: Bucket, frames: impl IntoIterator<Item = (u64, u64)>) -> (u64, Vec<u64>) {
        let (mut paid, mut bits, mut leaves) = (0, 0, Vec::new());
        for (now, size) in frames {
            if bucket.has_room(paid, now) {
                let begin = begins(paid, now);
                paid = begin + bucket.time_of(size);
                bits += size;
                leaves.push(begin);
            }
        }
        (bits, leaves)
    }

    #[test]
    fn a_flood_comes_down_to_the_rate_after_one_burst() {
        const FRAME: u64 = 1514 * 8;
        for rate in [10_000, 1_000_000, 100_000_000, 10_000_000_000] {
            let bucket = Bucket::new(rate, rate / 10);
            // Twice the rate, for ten seconds.
            let gap = bucket.time_of(FRAME) / 2;
            let flood = (0..10 * SECOND / gap).map(|number| (SECOND + number * gap, FRAME));
            let (bits, _) = offer(bucket, flood);
            let wanted = 10 * rate + rate / 10;
            assert!(bits.abs_diff(wanted) <= 2 * FRAME + wanted / 1000, "{rate}: {bits} of {wanted}");
        }
    }

    #[test]
    fn no_rate_is_no_limit_and_the_smallest_burst_lets_a_frame_through() {
        assert!(Bucket::default().has_room(u64::MAX / 2, 0));
        let bucket = Bucket::new(MOST, 1);
        assert_eq!((bucket.ahead, bucket.has_room(7, 7), bucket.has_room(8, 7)), (1, true, false));
    }

    #[test]
    fn the_longest_burst_at_the_lowest_rate_fits_the_clock() {
        let bucket = Bucket::new(1, MOST_BURST * 8);
        assert!(bucket.ahead.cast_signed() > 0 && bucket.ahead / SECOND == MOST_BURST * 8);
        // A machine that has run for ten years.
        let now = 10 * 365 * 86_400 * SECOND;
        assert!(bucket.has_room(now + bucket.ahead - 1, now) && !bucket.has_room(now + bucket.ahead, now));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_one_burst_and_one_frame(
            rate in 1_000..1_000_000_000_u64, burst in 8..10_000_000_u64,
            frames in vec((0..20_000_000_u64, 480..524_288_u64), 1..300),
        ) {
            let bucket = Bucket::new(rate, burst);
            let mut now = SECOND;
            let frames: Vec<_> = frames.into_iter().map(|(gap, size)| { now += gap; (now, size) }).collect();
            let span = u128::from(now - frames[0].0);
            let largest = frames.iter().map(|(_, size)| *size).max().unwrap_or_default();
            let count = frames.len() as u128;
            let (bits, leaves) = offer(bucket, frames.clone());
            // Each frame costs up to a nanosecond less than it should.
            let rounding = (count + 1) * u128::from(rate) / u128::from(SECOND) + 1;
            let most = span * u128::from(rate) / u128::from(SECOND) + u128::from(burst + largest) + rounding;
            prop_assert!(u128::from(bits) <= most, "{bits} of {most}");
            // A paced frame leaves in order, never before coming, never more than the burst and a frame late.
            prop_assert!(leaves.is_sorted() && leaves[0] == frames[0].0);
            prop_assert!(leaves[leaves.len() - 1] < now + bucket.ahead.max(1));
        }

        #[test]
        fn what_keeps_to_the_rate_is_never_refused(
            rate in 1_000..1_000_000_000_u64, burst in 8..10_000_000_u64, sizes in vec(480..524_288_u64, 1..200),
        ) {
            let bucket = Bucket::new(rate, burst);
            let mut now = SECOND;
            let frames: Vec<_> = sizes
                .iter()
                .map(|size| { let at = now; now += bucket.time_of(*size); (at, *size) })
                .collect();
            prop_assert_eq!(offer(bucket, frames).0, sizes.iter().sum::<u64>());
        }
    }
}
