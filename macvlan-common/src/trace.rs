//! What a traced program records of a frame: one entry of a BPF ring buffer, laid out the same on both
//! sides.

use core::hint::black_box;

use crate::{
    counters::{FloodOrigin, Path},
    verdict::{ACTIONS, Action, Total, Verdict},
};

/// Bytes of a frame that a record holds at most: Ethernet, two tags, IPv6 and TCP with options fit.
pub const HEAD_LEN: usize = 128;

/// Bytes of an encoded [`FrameRecord`].
pub const RECORD_LEN: usize = size_of::<FrameRecord>();

/// One judged frame, as the programs write it: little-endian, as the object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct FrameRecord {
    /// Nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`, kernel 5.8).
    pub time: u64,
    /// Bytes of the buffer, without a tag that the kernel holds beside it.
    pub len: u32,
    /// What was judged where, see [`Judgement`].
    pub judgement: u32,
    /// Segments of a segmentation-offloaded frame; 0 or 1 when it is none.
    pub segments: u32,
    /// Tag that the kernel holds beside the frame: EtherType above, tag control below; 0 without.
    pub tag: u32,
    /// Bytes used of `head`.
    pub captured: u32,
    /// Zero: no hidden padding.
    pub reserved: u32,
    /// The beginning of the frame; zeros behind it.
    pub head: [u8; HEAD_LEN],
}

impl FrameRecord {
    /// The record in these bytes, `None` when there are more or fewer than it has.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_LEN] = bytes.try_into().ok()?;
        let (fields, head) = bytes.split_at(RECORD_LEN - HEAD_LEN);
        let word = |at: usize| {
            let word = fields.get(at..at + size_of::<u32>())?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        };
        Some(Self {
            time: u64::from(word(0)?) | u64::from(word(4)?) << 32,
            len: word(8)?,
            judgement: word(12)?,
            segments: word(16)?,
            tag: word(20)?,
            captured: word(24)?,
            reserved: word(28)?,
            head: head.try_into().ok()?,
        })
    }
}

/// What one CPU counts of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct TraceCounts {
    /// Frames that the filter let through.
    pub matched: u64,
    /// Records made of them, or tried to; those that the reader did not get were lost.
    pub recorded: u64,
    /// Those of them that found no room in the ring.
    pub lost: u64,
}

/// Where a frame was judged, and how, in one word: hook, action, path and total, a byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Where.
    pub hook: Point,
    /// What the hook did.
    pub action: Action,
    /// On which path a child was charged, if one was.
    pub path: Option<Path>,
    /// Which counter of the master was charged, if one was.
    pub total: Option<Total>,
}

/// A hook as a record names it. A frame is recorded once, where it is judged: no other
/// [`Hook`](crate::frame::Hook) makes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// [`Hook::Xdp`](crate::frame::Hook::Xdp).
    Xdp = 0,
    /// [`Hook::Ingress`](crate::frame::Hook::Ingress) or [`Hook::AfterXdp`](crate::frame::Hook::AfterXdp).
    Ingress = 1,
    /// [`Hook::Egress`](crate::frame::Hook::Egress).
    Egress = 2,
}

impl Point {
    /// Its name in JSON and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Judgement {
    /// The word of a verdict.
    #[inline(always)]
    pub fn encode<Child>(point: Point, verdict: &Verdict<Child>) -> u32 {
        // A barrier: to join the tests, the compiler would join the pointers, which the verifier prohibits.
        let is_charged = black_box(verdict.tx.is_some()) || verdict.rx.is_some();
        let path = if is_charged { 1 + verdict.path as u32 } else { 0 };
        let total = match &verdict.total {
            None => 0,
            Some(Total::UnknownUnicast) => 1,
            Some(Total::Flood(origin)) => 2 + *origin as u32,
        };
        point as u32 | (verdict.action as u32) << 8 | path << 16 | total << 24
    }

    /// What a word says, `None` for one that no program writes.
    pub fn decode(word: u32) -> Option<Self> {
        let [hook, action, path, total] = word.to_le_bytes();
        Some(Self {
            hook: match hook {
                0 => Point::Xdp,
                1 => Point::Ingress,
                2 => Point::Egress,
                _ => return None,
            },
            action: *ACTIONS.get(usize::from(action))?,
            path: match path {
                0 => None,
                1 => Some(Path::Wire),
                2 => Some(Path::Host),
                3 => Some(Path::Sibling),
                _ => return None,
            },
            total: match total {
                0 => None,
                1 => Some(Total::UnknownUnicast),
                2 => Some(Total::Flood(FloodOrigin::Wire)),
                3 => Some(Total::Flood(FloodOrigin::Host)),
                4 => Some(Total::Flood(FloodOrigin::Child)),
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{array::uniform32, prelude::*};

    use super::*;
    use crate::{cases, decide::decide, frame::Hook};

    #[test]
    fn every_verdict_of_the_contract_survives_its_word() {
        for case in cases::all() {
            let Some(point) = point_of(case.hook) else { continue };
            let verdict = decide(case.hook, case.frame, &case.world);
            let charged = verdict.tx.is_some() || verdict.rx.is_some();
            let judgement = Judgement {
                hook: point,
                action: verdict.action,
                path: charged.then_some(verdict.path),
                total: verdict.total,
            };
            assert_eq!(Judgement::decode(Judgement::encode(point, &verdict)), Some(judgement), "{verdict:?}");
        }
    }

    fn point_of(hook: Hook) -> Option<Point> {
        match hook {
            Hook::Xdp => Some(Point::Xdp),
            Hook::Ingress | Hook::AfterXdp => Some(Point::Ingress),
            Hook::Egress => Some(Point::Egress),
            Hook::Judged | Hook::Turned(_) => None,
        }
    }

    #[test]
    fn a_record_of_another_length_is_none() {
        assert!(FrameRecord::decode(&[0; RECORD_LEN - 1]).is_none());
        assert!(FrameRecord::decode(&[0; RECORD_LEN + 1]).is_none());
        assert!(FrameRecord::decode(&[0; RECORD_LEN]).is_some());
    }

    proptest! {
        #[test]
        fn any_word_is_a_judgement_or_refused(word: u32) {
            if let Some(judgement) = Judgement::decode(word) {
                prop_assert_eq!(word as u8, judgement.hook as u8);
            }
        }

        #[test]
        fn fields_are_where_the_programs_write_them(fields in uniform32(any::<u8>())) {
            let mut bytes = [0; RECORD_LEN];
            bytes[..32].copy_from_slice(&fields);
            let record = FrameRecord::decode(&bytes).unwrap();
            prop_assert_eq!(&record.time.to_le_bytes()[..], &fields[..8]);
            prop_assert_eq!(&record.captured.to_le_bytes()[..], &fields[24..28]);
        }
    }
}
