//! What the traced twins of the programs do besides: a record of each frame, where it is judged.
//!
//! The twins are programs of their own, so that the plain ones hold no map, no helper call and no
//! instruction for it. Records go through aya-log; what is lost on the way shows by the count.

use aya_ebpf::{
    Global, bindings::xdp_md, helpers::bpf_ktime_get_boot_ns, macros::map, maps::PerCpuArray,
    programs::XdpContext,
};
use aya_log_ebpf::info;
use macvlan_common::{
    mac::Mac,
    trace::{HEAD_LEN, RECORD_LEN, Record, Scratch},
};

use crate::{
    global::{__sk_buff, context_of},
    packet, skb,
};

#[map]
static MACVLAN_TRACE: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// One frame in so many, on each CPU.
#[unsafe(no_mangle)]
static MACVLAN_SAMPLE: Global<u32> = Global::new(1);

/// Key of the only MAC to tell of, as source or destination; 0 tells of all.
#[unsafe(no_mangle)]
static MACVLAN_ONLY_MAC: Global<u64> = Global::new(0);

/// Ethernet header of a frame that comes without.
const ETH_HLEN: usize = 14;
/// Bytes told of behind such a header; a power of two, by which the verifier sees the bound.
const HEADLESS_LEN: usize = 64;

/// Tells of a frame at TC: `told` is a word of [`Told`](macvlan_common::trace::Told); `headless`,
/// that the data begin behind the MAC header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_tell(skb: *mut __sk_buff, dst: u64, src: u64, told: u32, headless: bool) -> u32 {
    let ctx = &context_of(skb);
    let Some(record) = next_record(dst, src) else { return 0 };
    record.segments = skb::segments(ctx);
    record.tag = if skb::is_tagged(ctx) {
        u32::from(skb::vlan_protocol(ctx)) << 16 | skb::vlan_control(ctx)
    } else {
        0
    };
    record.told = told;
    record.len = ctx.len();
    record.captured = if headless {
        record.len += ETH_HLEN as u32;
        let (header, rest) = record.head.split_at_mut(ETH_HLEN);
        header[..6].copy_from_slice(&Mac::from_key(dst).octets());
        header[6..12].copy_from_slice(&Mac::from_key(src).octets());
        header[12..].copy_from_slice(&skb::protocol(ctx).to_be_bytes());
        ETH_HLEN as u32 + packet::load_head::<HEADLESS_LEN>(ctx, rest)
    } else {
        packet::load_head::<HEAD_LEN>(ctx, &mut record.head)
    };
    log(ctx, record);
    1
}

/// Tells of a frame at XDP that has `len` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_tell_xdp(md: *mut xdp_md, dst: u64, src: u64, told: u32, len: u32) -> u32 {
    let ctx = &XdpContext::new(md);
    let Some(record) = next_record(dst, src) else { return 0 };
    record.told = told;
    record.len = len;
    record.segments = 0;
    record.tag = 0;
    record.captured = packet::copy(ctx.data(), ctx.data_end(), &mut record.head);
    log(ctx, record);
    1
}

/// Where to make a record of a frame with these MACs, if one is to be made of it.
#[inline(always)]
fn next_record(dst: u64, src: u64) -> Option<&'static mut Record> {
    let only = MACVLAN_ONLY_MAC.load();
    if only != 0 && only != dst && only != src {
        return None;
    }
    // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
    let scratch = unsafe { &mut *MACVLAN_TRACE.get_ptr_mut(0)? };
    let place = scratch.matched.checked_rem(u64::from(MACVLAN_SAMPLE.load()));
    scratch.matched = scratch.matched.wrapping_add(1);
    if place != Some(0) {
        return None;
    }
    scratch.recorded = scratch.recorded.wrapping_add(1);
    // SAFETY: the helper touches no memory.
    scratch.record.time = unsafe { bpf_ktime_get_boot_ns() };
    scratch.record.head = [0; HEAD_LEN];
    Some(&mut scratch.record)
}

#[inline(always)]
fn log<T>(ctx: &T, record: &Record) {
    // SAFETY: a record is integers without padding.
    let bytes: &[u8] = unsafe { core::slice::from_raw_parts((&raw const *record).cast(), RECORD_LEN) };
    info!(ctx, target: "", "{:x}", bytes);
}
