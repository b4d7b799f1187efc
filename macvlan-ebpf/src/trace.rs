//! What the traced twins of the programs add: a record of each frame, where it is judged.
//!
//! The twins are programs of their own, so that the plain ones hold no map, no helper call and no
//! instruction for it. Records go through a ring buffer; what is lost on the way shows by the count.
//! aya-log carries messages for people.

use aya_ebpf::{
    EbpfContext, Global,
    bindings::xdp_md,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
    programs::XdpContext,
};
use aya_log_ebpf::warn;
use macvlan_common::{
    mac::Mac,
    trace::{FrameRecord, HEAD_LEN, TraceCounts},
};

use crate::{
    global::{__sk_buff, context_of},
    packet, skb,
};

#[map]
static MACVLAN_TRACE: PerCpuArray<TraceCounts> = PerCpuArray::with_max_entries(1, 0);

/// One page, the kernel's least; the loader sets the real size.
#[map]
static MACVLAN_RING: RingBuf = RingBuf::with_byte_size(1 << 12, 0);

/// One frame in so many, on each CPU.
#[unsafe(no_mangle)]
static MACVLAN_SAMPLE: Global<u32> = Global::new(1);

/// Key of the only MAC to record, as source or destination; 0 records all.
#[unsafe(no_mangle)]
static MACVLAN_ONLY_MAC: Global<u64> = Global::new(0);

/// Ethernet header of a frame that comes without.
const ETH_HLEN: usize = packet::ETH_HLEN as usize;
/// Bytes recorded behind such a header; a power of two, by which the verifier sees the bound.
const HEADLESS_LEN: usize = 64;

/// Records a frame at TC: `judgement` is a word of [`Judgement`](macvlan_common::trace::Judgement); `headless`,
/// that the data begin behind the MAC header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_record(
    skb: *mut __sk_buff,
    dst: u64,
    src: u64,
    judgement: u32,
    headless: bool,
) -> u32 {
    let ctx = &context_of(skb);
    let Some(mut entry) = next_entry(ctx, dst, src) else { return 0 };
    let record = entry.write(empty_record(judgement, ctx.len()));
    record.segments = skb::segments(ctx);
    if skb::is_tagged(ctx) {
        record.tag = u32::from(skb::vlan_protocol(ctx)) << 16 | skb::vlan_control(ctx);
    }
    record.captured = if headless {
        record.len += packet::ETH_HLEN;
        let (header, rest) = record.head.split_at_mut(ETH_HLEN);
        header[..6].copy_from_slice(&Mac::from_key(dst).octets());
        header[6..12].copy_from_slice(&Mac::from_key(src).octets());
        header[12..].copy_from_slice(&skb::protocol(ctx).to_be_bytes());
        packet::ETH_HLEN + packet::load_head::<HEADLESS_LEN>(ctx, rest)
    } else {
        packet::load_head::<HEAD_LEN>(ctx, &mut record.head)
    };
    entry.submit(0);
    1
}

/// Records a frame of `len` bytes at XDP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_record_xdp(md: *mut xdp_md, dst: u64, src: u64, judgement: u32, len: u32) -> u32 {
    let ctx = &XdpContext::new(md);
    let Some(mut entry) = next_entry(ctx, dst, src) else { return 0 };
    let record = entry.write(empty_record(judgement, len));
    record.captured = packet::copy(ctx.data(), ctx.data_end(), &mut record.head);
    entry.submit(0);
    1
}

/// Room for a record of a frame with these MACs, if it is to be recorded and there is room.
#[inline(always)]
fn next_entry(ctx: &impl EbpfContext, dst: u64, src: u64) -> Option<RingBufEntry<FrameRecord>> {
    let only = MACVLAN_ONLY_MAC.load();
    if only != 0 && only != dst && only != src {
        return None;
    }
    // SAFETY: a per-CPU array element: it never moves, and only this CPU writes it.
    let counts = unsafe { &mut *MACVLAN_TRACE.get_ptr_mut(0)? };
    let place = counts.matched.checked_rem(u64::from(MACVLAN_SAMPLE.load()));
    counts.matched = counts.matched.wrapping_add(1);
    if place != Some(0) {
        return None;
    }
    counts.recorded = counts.recorded.wrapping_add(1);
    let entry = MACVLAN_RING.reserve::<FrameRecord>(0);
    if entry.is_none() {
        counts.lost = counts.lost.wrapping_add(1);
        if counts.lost == 1 {
            // SAFETY: the helper touches no memory.
            let cpu = unsafe { bpf_get_smp_processor_id() };
            warn!(ctx, "records came faster on CPU {} than they were read", cpu);
        }
    }
    entry
}

#[inline(always)]
fn empty_record(judgement: u32, len: u32) -> FrameRecord {
    // SAFETY: the helper touches no memory.
    let time = unsafe { bpf_ktime_get_boot_ns() };
    FrameRecord { time, len, judgement, segments: 0, tag: 0, captured: 0, reserved: 0, head: [0; HEAD_LEN] }
}
