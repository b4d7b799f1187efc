//! The one place that reads packet memory.

use core::{hint::black_box, mem::MaybeUninit};

use aya_ebpf::{EbpfContext as _, helpers::bpf_skb_load_bytes, programs::TcContext};
use macvlan_common::decide::{Frame, Sender};

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
    Frame { dst: key(d0, d1, d2), src: key(s0, s1, s2), sender: Sender::Unsaid }
}

/// [`Mac::key`](macvlan_common::mac::Mac::key) of octets loaded in little-endian order, which is
/// that of the object.
#[inline(always)]
fn key(low: u16, middle: u16, high: u16) -> u64 {
    u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
}

/// An array of integers from what lies at an offset; `None` beyond the frame.
///
/// Nothing is zeroed before: the helper fills all of it or fails, and a loop that zeroes is walked by
/// the verifier octet by octet.
#[inline(always)]
pub fn load<T: Copy>(ctx: &TcContext, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let len = size_of::<T>() as u32;
    // SAFETY: the helper writes `len` octets to `value`, or fails.
    let status = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, value.as_mut_ptr().cast(), len) };
    // SAFETY: it did not fail, and `T` is an array of integers.
    (status == 0).then(|| unsafe { value.assume_init() })
}

/// Copies the beginning of the frame, as much as there is and fits; gives how many octets.
///
/// The count is not that of the loop: the verifier would walk what follows once for each.
#[inline(always)]
pub fn copy<const N: usize>(data: usize, data_end: usize, to: &mut [u8; N]) -> u32 {
    for (at, octet) in (data..).zip(to) {
        // A comparison with `at` itself, which the compiler would make of it, shows the verifier
        // no room behind.
        if black_box(at + 1) > data_end {
            break;
        }
        // SAFETY: 1 octet from `at` is readable, as just compared.
        *octet = unsafe { *(at as *const u8) };
    }
    (data_end - data).min(N) as u32
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
