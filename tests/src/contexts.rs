//! What the kernel tells a BPF program of a frame, and what the program leaves there.

use macvlan_common::tag::Tag;

use crate::fail::OrFail as _;

/// Bytes that a program may put before a frame (`xdp_metalen_invalid` in `include/net/xdp.h`).
pub const META_ROOM: usize = 256;

// Offsets in `struct xdp_md` of `include/uapi/linux/bpf.h`.
/// `data`.
pub const XDP_DATA: usize = 0;
/// `data_end`.
pub const XDP_DATA_END: usize = 4;
/// `ingress_ifindex`.
pub const XDP_INGRESS_IFINDEX: usize = 12;
/// Length of the whole.
pub const XDP_MD_LEN: usize = 24;

// Offsets in `struct __sk_buff` there.
/// `mark`.
pub const SKB_MARK: usize = 8;
/// `cb[3]`.
pub const SKB_TAG: usize = 60;
const SKB_IFINDEX: usize = 40;
const SKB_TSTAMP: usize = 152;
const SKB_GSO_SEGS: usize = 164;
const SKB_GSO_SIZE: usize = 176;
/// Length of the whole.
pub const SK_BUFF_LEN: usize = 192;

/// A frame for a TC program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Skb<'a> {
    /// Its bytes.
    pub frame: &'a [u8],
    /// The device it is on.
    pub ifindex: u32,
    /// The packet mark.
    pub mark: u32,
    /// What lies where the programs leave word.
    pub tag: Tag,
    /// The time it is to leave at.
    pub tstamp: u64,
    /// How many frames it stands for, 0 for one that is not offloaded.
    pub gso_segs: u32,
    /// Bytes of payload in each of them.
    pub gso_size: u32,
}

impl Skb<'_> {
    /// The context that a TC program gets.
    pub fn context(&self) -> [u8; SK_BUFF_LEN] {
        let mut context = [0; SK_BUFF_LEN];
        put(&mut context, SKB_MARK, self.mark);
        put(&mut context, SKB_TAG, self.tag.low);
        put(&mut context, SKB_TAG + 4, self.tag.high);
        put(&mut context, SKB_IFINDEX, self.ifindex);
        put(&mut context, SKB_TSTAMP, self.tstamp as u32);
        put(&mut context, SKB_TSTAMP + 4, (self.tstamp >> 32) as u32);
        put(&mut context, SKB_GSO_SEGS, self.gso_segs);
        put(&mut context, SKB_GSO_SIZE, self.gso_size);
        context
    }
}

/// What an XDP program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpRun {
    /// `XDP_*`.
    pub action: u32,
    /// What it left before the frame.
    pub meta: Vec<u8>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// What a TC program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkbRun {
    /// `TC_ACT_*`.
    pub action: i32,
    /// The packet mark afterwards.
    pub mark: u32,
    /// What lies where the programs leave word, afterwards.
    pub tag: Tag,
    /// The time afterwards.
    pub tstamp: u64,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl SkbRun {
    /// What a program left: its result, its context, and the frame.
    #[track_caller]
    pub fn of(result: u32, context: &[u8; SK_BUFF_LEN], frame: Vec<u8>) -> Self {
        let upper = u64::from(field(context, SKB_TSTAMP + 4));
        Self {
            action: result as i32,
            mark: field(context, SKB_MARK),
            tag: Tag { low: field(context, SKB_TAG), high: field(context, SKB_TAG + 4) },
            tstamp: upper << 32 | u64::from(field(context, SKB_TSTAMP)),
            frame,
        }
    }
}

/// Writes a word of a context.
pub fn put(context: &mut [u8], offset: usize, value: u32) {
    context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
}

/// Reads a word of a context.
#[track_caller]
pub fn field(context: &[u8], offset: usize) -> u32 {
    let bytes = &context[offset..offset + 4];
    u32::from_ne_bytes(bytes.try_into().or_fail("read a word"))
}
