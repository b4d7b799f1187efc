//! The payload of a frame, and what becomes of what cannot be read.

use crate::{child::Policy, counters::DropReason, l3::Address};

/// A frame that a child sends. Offsets are from its destination MAC, without a tag that the kernel
/// holds beside it.
pub trait Packet {
    /// The 16 bits at an offset, as sent; `None` beyond the frame.
    fn half(&self, at: u32) -> Option<u16>;

    /// The 32-bit words at an offset, as they lie in memory; `None` when the frame has not all.
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]>;

    /// Whether the sender has this address.
    fn owns(&self, address: Address) -> bool;
}

/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// The frame names an address that is not the sender's.
pub const SPOOFED: Option<DropReason> = Some(DropReason::Spoofed);

/// What cannot be read is dropped by a guard that is on.
#[inline(always)]
pub const fn unreadable(policy: Policy) -> Option<DropReason> {
    if policy.is_held_to_addresses() {
        SPOOFED
    } else if !policy.ra() {
        Some(DropReason::RaGuard)
    } else if !policy.dhcp_server() {
        Some(DropReason::DhcpGuard)
    } else {
        None
    }
}
