//! How many frames in a second: a token bucket in one word.
//!
//! The word is the time at which the bucket would be full again, of which every frame let through
//! takes its share away (the virtual scheduling form of the generic cell rate algorithm, ITU-T
//! I.371). Two CPUs that let a frame through within the same few nanoseconds may pay for one alone;
//! those that drop write nothing.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// How long a rate may be exceeded at most, in nanoseconds: a tenth of a second's frames may come at
/// once.
const BURST: u64 = SECOND / 10;

/// Highest rate of frames: one each nanosecond.
pub const MOST_FRAMES: u32 = 1_000_000_000;

/// A rate, and how far it may be exceeded for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Pace {
    /// Nanoseconds from one frame to the next; 0 for no limit.
    pub interval: u64,
    /// Nanoseconds that frames may come before their time.
    pub ahead: u64,
}

impl Pace {
    /// So many frames a second, and a tenth of that, or one, at once. 0 is no limit.
    pub const fn of_frames(per_second: u32) -> Self {
        if per_second == 0 {
            return Self { interval: 0, ahead: 0 };
        }
        let interval = SECOND / per_second as u64;
        let interval = if interval == 0 { 1 } else { interval };
        Self { interval, ahead: BURST.saturating_sub(interval) }
    }

    /// When a bucket that is full again at `full` will be, with a frame more that comes `now`; `None`
    /// when that is too much.
    #[inline(always)]
    pub const fn admit(&self, full: u64, now: u64) -> Option<u64> {
        let debt = full.wrapping_sub(now).cast_signed();
        if debt > self.ahead.cast_signed() {
            return None;
        }
        Some(if debt < 0 { now } else { full }.wrapping_add(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Offers a frame at each of these times; gives how many are let through.
    fn offer(pace: Pace, times: impl IntoIterator<Item = u64>) -> u64 {
        let mut full = 0;
        let let_through = times.into_iter().filter(|now| {
            let Some(next) = pace.admit(full, *now) else { return false };
            full = next;
            true
        });
        let_through.count() as u64
    }

    #[test]
    fn a_flood_comes_down_to_the_rate_and_one_burst() {
        for rate in [1, 7, 100, 1000, 999_999] {
            let offered = (0..10 * 1_000_000_u64).map(|number| SECOND + number * 1000);
            let burst = u64::from(rate) / 10;
            let (let_through, wanted) =
                (offer(Pace::of_frames(rate), offered), (10 * u64::from(rate) + burst).min(10_000_000));
            assert!(let_through.abs_diff(wanted) <= 2 + wanted / 1000, "{rate}: {let_through} of {wanted}");
        }
    }

    #[test]
    fn what_keeps_to_the_rate_is_let_through() {
        let offered = (0..5000).map(|number| SECOND + number * 1_000_000);
        assert_eq!(offer(Pace::of_frames(1000), offered), 5000);
        assert_eq!(Pace::of_frames(0), Pace::default());
    }

    proptest! {
        #[test]
        fn no_more_than_the_rate_and_one_burst(
            rate in 1..2_000_000_u32, gaps in vec(0..20_000_000_u64, 1..500),
        ) {
            let mut now = SECOND;
            let times: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
            let pace = Pace::of_frames(rate);
            let (span, offered) = (times[times.len() - 1] - times[0], times.len() as u64);
            let let_through = offer(pace, times);
            prop_assert!(let_through <= offered);
            prop_assert!(let_through <= (span + pace.ahead) / pace.interval + 2);
        }
    }
}
