//! The one place that reads packet memory.

use macvlan_common::decide::Frame;

/// Both MACs; the EtherType behind them decides nothing.
///
/// The kernel itself requires Ethernet addresses to lie on 16-bit boundaries
/// (`ether_addr_equal` in `include/linux/etherdevice.h`).
pub type Macs = [u16; 6];

/// The MACs at `data`, `None` when the readable part of the frame is shorter.
#[inline(always)]
pub fn macs(data: usize, data_end: usize) -> Option<Frame> {
    if data + size_of::<Macs>() > data_end {
        return None;
    }
    // SAFETY: 12 octets from `data` are readable, as just compared, and aligned as `Macs` says.
    Some(frame_of(unsafe { *(data as *const Macs) }))
}

/// The MACs in these octets.
#[inline(always)]
pub fn frame_of([d0, d1, d2, s0, s1, s2]: Macs) -> Frame {
    Frame { dst: key(d0, d1, d2), src: key(s0, s1, s2) }
}

/// [`Mac::key`](macvlan_common::mac::Mac::key) of octets loaded in little-endian order, which is
/// that of the object.
#[inline(always)]
fn key(low: u16, middle: u16, high: u16) -> u64 {
    u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
}

/// Whether the 32 bits before the frame are `word`.
#[inline(always)]
pub fn meta_is(meta: usize, data: usize, word: u32) -> bool {
    if meta + size_of::<u32>() > data {
        return false;
    }
    // SAFETY: 4 octets from `meta` are readable, as just compared; `bpf_xdp_adjust_meta` keeps
    // metadata on 32-bit boundaries.
    unsafe { *(meta as *const u32) == word }
}

/// Writes `word` before the frame; `false` when there is no room.
#[inline(always)]
pub fn set_meta(meta: usize, data: usize, word: u32) -> bool {
    if meta + size_of::<u32>() > data {
        return false;
    }
    // SAFETY: 4 octets from `meta` are writable, as just compared, and aligned as above.
    unsafe { *(meta as *mut u32) = word };
    true
}
