//! TC egress on a child's own device.

/// What the program on a child's own device does with a frame that leaves there. Only the device
/// tells a frame of this child from one that another sends under its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Its source is the child's MAC: say so to the programs on the master.
    Vouch,
    /// Its source is another MAC, which this child may use: the programs on the master go by that.
    Pass,
    /// Its source is another MAC: dropped as [`DropReason::Spoofed`](crate::counters::DropReason),
    /// charged to the child.
    Drop,
}

/// Judges a frame with the source `src` that leaves the device of the child `own`; `held`: the child
/// is held to its MAC.
#[inline(always)]
pub const fn leave(src: u64, own: u64, held: bool) -> Leaving {
    match (src == own, held) {
        (true, _) => Leaving::Vouch,
        (false, false) => Leaving::Pass,
        (false, true) => Leaving::Drop,
    }
}
