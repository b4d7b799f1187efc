//! The one place that reads and writes packet memory.

use core::{hint::black_box, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_hdr_start_off::BPF_HDR_START_MAC,
    helpers::{bpf_skb_load_bytes, bpf_skb_load_bytes_relative},
    programs::TcContext,
};
use macvlan_common::{frame::Frame, mac::Mac, tag::Sender};

/// Bytes of an Ethernet header.
pub const ETH_HLEN: u32 = 14;

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
    // SAFETY: 12 bytes from `data` are readable, as just compared, and aligned as `Macs` says.
    Some(frame_of(unsafe { *(data as *const Macs) }))
}

/// The MACs; a frame whose first bytes lie in a fragment is pulled together first.
#[inline(always)]
pub fn whole_macs(ctx: &TcContext) -> Option<Frame> {
    if let Some(frame) = macs(ctx.data(), ctx.data_end()) {
        return Some(frame);
    }
    if ctx.len() < ETH_HLEN || ctx.pull_data(ETH_HLEN).is_err() {
        return None;
    }
    macs(ctx.data(), ctx.data_end())
}

/// The MACs, from where the kernel says the MAC header is.
///
/// Behind generic XDP the data of a frame may begin at the network header: a copy that the kernel
/// makes for a multi-buffer program forgets `mac_len` (`skb_pp_cow_data` in net/core/skbuff.c,
/// seen on 6.18), by which TC ingress goes back to the MAC header.
#[inline(always)]
pub fn macs_by_header(ctx: &TcContext) -> Option<Frame> {
    load_by_header(ctx, 0).map(frame_of)
}

/// The MACs in these bytes.
#[inline(always)]
fn frame_of([d0, d1, d2, s0, s1, s2]: Macs) -> Frame {
    Frame { dst: key(d0, d1, d2), src: key(s0, s1, s2), sender: Sender::Unknown, to_host: false }
}

/// [`Mac::key`](macvlan_common::mac::Mac::key) of bytes loaded in little-endian order, which is
/// that of the object.
#[inline(always)]
fn key(low: u16, middle: u16, high: u16) -> u64 {
    u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
}

/// The 16 bits at an offset in the readable part, as sent; `None` beyond it.
#[inline(always)]
pub fn half(data: usize, data_end: usize, at: u32) -> Option<u16> {
    let start = data + at as usize;
    if start + size_of::<u16>() > data_end {
        return None;
    }
    // SAFETY: 2 bytes from `start` are readable, as just compared, and aligned as [`Macs`] says: every
    // offset is even.
    Some(u16::from_be(unsafe { *(start as *const u16) }))
}

/// The 32-bit words at an offset in the readable part, as they lie there; `None` beyond it.
///
/// The offset is one where the kernel itself reads words: it aligns the network header, 14 bytes behind the MACs, to 4
/// (`NET_IP_ALIGN` in include/linux/skbuff.h).
#[inline(always)]
pub fn words<const N: usize>(data: usize, data_end: usize, at: u32) -> Option<[u32; N]> {
    let start = data + at as usize;
    if start + size_of::<[u32; N]>() > data_end {
        return None;
    }
    // SAFETY: these bytes from `start` are readable, as just compared, and aligned as said above.
    Some(unsafe { *(start as *const [u32; N]) })
}

/// Whether an IPv6 packet, the first header of which is in the readable part, carries ICMPv6 next to it.
#[inline(always)]
pub fn is_icmpv6(data: usize, data_end: usize) -> bool {
    /// `IPPROTO_ICMPV6`, and where an IPv6 header names what follows it.
    const ICMPV6: u8 = 58;
    const NEXT_HEADER: usize = ETH_HLEN as usize + 6;
    if data + NEXT_HEADER + 1 > data_end {
        return false;
    }
    // SAFETY: the byte is readable, as just compared.
    unsafe { *((data + NEXT_HEADER) as *const u8) == ICMPV6 }
}

/// An array of integers from what lies at an offset; `None` beyond the frame.
///
/// Nothing is zeroed before: the helper fills all of it or fails, and a loop that zeroes is walked by
/// the verifier byte by byte.
#[inline(always)]
pub fn load<T: Copy>(ctx: &TcContext, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let len = size_of::<T>() as u32;
    // SAFETY: the helper writes `len` bytes to `value`, or fails.
    let status = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, value.as_mut_ptr().cast(), len) };
    // SAFETY: it did not fail, and `T` is an array of integers.
    (status == 0).then(|| unsafe { value.assume_init() })
}

/// An array of integers from what lies at an offset from the MAC header; `None` beyond the frame.
#[inline(always)]
pub fn load_by_header<T: Copy>(ctx: &TcContext, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes to `value`, or fails.
    let status = unsafe {
        bpf_skb_load_bytes_relative(
            ctx.as_ptr(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            BPF_HDR_START_MAC,
        )
    };
    // SAFETY: it did not fail, and `T` is an array of integers.
    (status == 0).then(|| unsafe { value.assume_init() })
}

/// Loads the beginning of the frame, `N` bytes or all there are, a power of two; gives how many.
#[inline(always)]
pub fn load_head<const N: usize>(ctx: &TcContext, to: &mut [u8]) -> u32 {
    let last = black_box(ctx.len()).wrapping_sub(1);
    // The mask changes nothing; it is how the verifier learns of the bound.
    let count = if last < N as u32 { (black_box(last) & (N as u32 - 1)) + 1 } else { N as u32 };
    // SAFETY: the helper writes `count` bytes to `to`, which has room for `N`, or fails.
    let status = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), 0, to.as_mut_ptr().cast(), count) };
    if status == 0 { count } else { 0 }
}

/// Gives the frame this destination; `false` when there is no memory for that.
#[inline(always)]
pub fn set_destination(ctx: &TcContext, mac: u64) -> bool {
    ctx.store(0, &Mac::from_key(mac).octets(), 0).is_ok()
}

/// Copies the beginning of the frame, as much as there is and fits; gives how many bytes.
///
/// The count is not that of the loop: the verifier would walk what follows once for each.
#[inline(always)]
pub fn copy<const N: usize>(data: usize, data_end: usize, to: &mut [u8; N]) -> u32 {
    for (at, byte) in (data..).zip(to) {
        // A comparison with `at` itself, which the compiler would make of it, shows the verifier
        // no room behind.
        if black_box(at + 1) > data_end {
            break;
        }
        // SAFETY: 1 byte from `at` is readable, as just compared.
        *byte = unsafe { *(at as *const u8) };
    }
    (data_end - data).min(N) as u32
}

/// Whether the 32 bits before the frame are `word`.
#[inline(always)]
pub fn meta_is(meta: usize, data: usize, word: u32) -> bool {
    if meta + size_of::<u32>() > data {
        return false;
    }
    // SAFETY: 4 bytes from `meta` are readable, as just compared; `bpf_xdp_adjust_meta` keeps
    // metadata on 32-bit boundaries.
    unsafe { *(meta as *const u32) == word }
}

/// Writes `word` before the frame; `false` when there is no room.
#[inline(always)]
pub fn set_meta(meta: usize, data: usize, word: u32) -> bool {
    if meta + size_of::<u32>() > data {
        return false;
    }
    // SAFETY: 4 bytes from `meta` are writable, as just compared, and aligned as above.
    unsafe { *(meta as *mut u32) = word };
    true
}
