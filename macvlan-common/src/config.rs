//! What the programs know of their master, and the tags by which they know frames again.

use crate::{
    child::{Mode, Policy},
    flood::is_flooded,
    port,
    tag::{Hairpin, Sender, Tag},
};

/// Per-master settings, read by every program on every frame.
///
/// Each field is one aligned word: the kernel copies map values word by word
/// (`bpf_obj_memcpy` in `include/linux/bpf.h`), so a reader sees each field old or new, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Config {
    /// Key of the master's own MAC.
    pub master: u64,
    /// Key of the passthru child's MAC, 0 without one. Nothing is hairpinned with such a child.
    pub passthru: u64,
    /// [`FLOOD`](Self::FLOOD) and the other constants of one bit.
    pub flags: u64,
    /// Upper 56 bits: random, new at each attach, so that nobody can forge a tag of ours. It never leaves
    /// the kernel: see [`Tag`].
    pub secret: u64,
    /// Random; put before a frame as metadata once native XDP has judged it.
    pub meta: u32,
    /// Index of the [flood device](crate::flood), through which the host's broadcasts are copied to the
    /// children; 0 without.
    pub flood: u32,
    /// Not 0: the host has a MAC besides [`master`](Self::master), as TC ingress has seen. Native XDP leaves frames
    /// to nobody to TC ingress then, which knows the host's. The programs set it; user space clears it when
    /// it writes another MAC of the master.
    pub other_mac: u64,
    /// With [`STRICT`](Self::STRICT): cookie of the master's network namespace, where a frame's [socket](crate::socket) is
    /// asked; 0 where the driver tells.
    pub home: u64,
}

impl Config {
    /// The host's broadcasts are copied to the children: at least one child can receive them.
    pub const FLOOD: u64 = 1;

    /// The demultiplexer is in generic XDP: it sees every frame that TC ingress sees, and before it.
    pub const XDP_GENERIC: u64 = 2;

    /// The demultiplexer is in native XDP: it writes metadata before each frame that it has judged.
    pub const XDP_NATIVE: u64 = 4;

    /// Unicast from the wire to nobody here is dropped.
    pub const DROP_UNKNOWN: u64 = 8;

    /// At least one child is guarded against spoofing: who sends through the master must be known.
    pub const ANTI_SPOOF: u64 = 16;

    /// The switch sends frames back out of the port they came in by: a local source MAC on the
    /// wire is no forgery.
    pub const VEPA_SWITCH: u64 = 32;

    /// At least one VEPA child reaches siblings and host here, not through the switch.
    pub const REFLECT: u64 = 64;

    /// At least one child's own device has a program that vouches for its frames.
    pub const VOUCHED: u64 = 128;

    /// At least one child is limited to [`rates`](crate::rate).
    pub const LIMITED: u64 = 1 << 11;

    /// At least one child's device is down: who sends through the master may have come up again.
    pub const ABSENT: u64 = 1 << 12;

    /// The programs are being put on the master: what comes in may be the echo of a frame that none of them
    /// saw leave.
    pub const ATTACHING: u64 = 1 << 13;

    /// No program of ours is at TC ingress: what is turned around comes up without a tag, as nobody would take it off.
    pub const LEAN: u64 = 1 << 14;

    /// The host's MAC is the host's alone: programs on the macvlan driver say when a child sends, or the socket of a
    /// frame is asked ([`home`](Self::home)).
    pub const STRICT: u64 = 1 << 15;

    /// At least one child is a [port].
    pub const PORTS: u64 = 1 << 16;

    /// Native XDP may see frames without their VLAN tags. It sends none to a port then: the port would take them for frames
    /// of no VLAN.
    pub const TAGS_OFF: u64 = 1 << 17;

    /// The flags that follow from the children, see [`flags_of`](Self::flags_of).
    pub const OF_CHILDREN: u64 = Self::FLOOD
        | Self::ANTI_SPOOF
        | Self::REFLECT
        | Self::VOUCHED
        | Self::INSPECT
        | Self::LIMITED
        | Self::ABSENT
        | Self::PORTS
        | Self::TAGS_OFF;

    /// The flags that children with these policies need.
    pub fn flags_of(policies: impl Iterator<Item = Policy>) -> u64 {
        policies.filter(|policy| !policy.is_hosts()).fold(0, |flags, policy| {
            let hears_host = policy.host_access() && !matches!(policy.mode(), Mode::Passthru | Mode::Source);
            flags
                | if hears_host { Self::FLOOD } else { 0 }
                | if policy.is_guarded() { Self::ANTI_SPOOF } else { 0 }
                | if policy.reflects() { Self::REFLECT } else { 0 }
                | if policy.is_vouched() { Self::VOUCHED } else { 0 }
                | if policy.is_limited() { Self::LIMITED } else { 0 }
                | if policy.is_inspected() { Self::INSPECT } else { 0 }
                | if policy.port() != 0 { Self::PORTS } else { 0 }
        })
    }

    /// Requests for a known address go to its owner alone ([`neigh`](crate::neigh)).
    pub const DIRECTS: u64 = 1 << 8;

    /// Broadcast and multicast is limited to a rate ([`limit`](crate::limit)).
    pub const STORM_GUARD: u64 = 1 << 9;

    /// The payload of at least one child's frames is inspected
    /// ([`inspect`](crate::inspect)).
    pub const INSPECT: u64 = 1 << 10;

    /// Bits of a tag's lower word that hold a [`Hairpin`].
    pub const TAG_KIND: u32 = 0xff;

    /// The last byte of the tag that the program on a child's own device sets.
    const TAG_VOUCHED: u32 = 5;

    /// Whether the host's broadcasts are copied to the children.
    #[inline(always)]
    pub const fn floods(&self) -> bool {
        self.flags & Self::FLOOD != 0
    }

    /// Whether the demultiplexer is in generic XDP.
    #[inline(always)]
    pub const fn xdp_is_generic(&self) -> bool {
        self.flags & Self::XDP_GENERIC != 0
    }

    /// Whether the demultiplexer is in native XDP.
    #[inline(always)]
    pub const fn xdp_is_native(&self) -> bool {
        self.flags & Self::XDP_NATIVE != 0
    }

    /// Whether unicast from the wire to nobody here is dropped.
    #[inline(always)]
    pub const fn drops_unknown(&self) -> bool {
        self.flags & Self::DROP_UNKNOWN != 0
    }

    /// Whether XDP leaves it to TC ingress to drop such a frame. Only that hook knows the host's MAC for
    /// certain, and generic XDP is hardly earlier.
    #[inline(always)]
    pub const fn leaves_unknown(&self) -> bool {
        self.drops_unknown() && (self.xdp_is_generic() || self.other_mac != 0)
    }

    /// Whether a frame that leaves through the master must have a source MAC that is known here.
    #[inline(always)]
    pub const fn anti_spoofs(&self) -> bool {
        self.flags & Self::ANTI_SPOOF != 0
    }

    /// Whether a frame from the wire that claims a guarded MAC is a forgery.
    #[inline(always)]
    pub const fn distrusts_wire(&self) -> bool {
        self.flags & (Self::ANTI_SPOOF | Self::VEPA_SWITCH) == Self::ANTI_SPOOF
    }

    /// Whether a VEPA child is reflected to here, so that broadcasts of siblings are turned around.
    #[inline(always)]
    pub const fn reflects(&self) -> bool {
        self.flags & Self::REFLECT != 0
    }

    /// Whether some frames have a tag that proves their sender.
    #[inline(always)]
    pub const fn asks_senders(&self) -> bool {
        self.flags & Self::VOUCHED != 0
    }

    /// Whether requests for a known address go to its owner alone.
    #[inline(always)]
    pub const fn directs(&self) -> bool {
        self.flags & Self::DIRECTS != 0 && self.passthru == 0
    }

    /// Whether broadcast and multicast is limited to a rate.
    #[inline(always)]
    pub const fn guards_storms(&self) -> bool {
        self.flags & Self::STORM_GUARD != 0
    }

    /// Whether a child is limited to rates.
    #[inline(always)]
    pub const fn limits(&self) -> bool {
        self.flags & Self::LIMITED != 0
    }

    /// Whether the device of a child is down, as far as anybody knows.
    #[inline(always)]
    pub const fn misses_some(&self) -> bool {
        self.flags & Self::ABSENT != 0
    }

    /// Whether no program of ours is at TC ingress.
    #[inline(always)]
    pub const fn is_lean(&self) -> bool {
        self.flags & Self::LEAN != 0
    }

    /// Whether a frame with the host's MAC is known to be the host's.
    #[inline(always)]
    pub const fn is_strict(&self) -> bool {
        self.flags & Self::STRICT != 0
    }

    /// Whether a child is a port.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        self.flags & Self::PORTS != 0
    }

    /// Whether XDP sends what the port with this number is to get there itself. 0 is none.
    #[inline(always)]
    pub const fn xdp_sends_to(&self, number: u32) -> bool {
        self.flags & (Self::XDP_NATIVE | Self::TAGS_OFF) == Self::XDP_NATIVE && port::takes_redirected(number)
    }

    /// Whether the programs are being put on the master.
    #[inline(always)]
    pub const fn is_attaching(&self) -> bool {
        self.flags & Self::ATTACHING != 0
    }

    /// Whether a guard may drop a frame that [`decide`](mod@crate::decide) lets pass.
    #[inline(always)]
    pub const fn guards(&self) -> bool {
        self.flags & (Self::STORM_GUARD | Self::LIMITED | Self::INSPECT) != 0
    }

    /// Whether the MACs alone decide what happens to unicast from the wire, and such a frame has no tag to
    /// clear.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.flags & (Self::VOUCHED | Self::LIMITED) == 0 && self.passthru == 0
    }

    /// Whether the payload of some child's frames is inspected.
    #[inline(always)]
    pub const fn inspects(&self) -> bool {
        self.flags & Self::INSPECT != 0
    }

    /// The tag of a frame turned around as `kind`; none where nobody takes it off.
    #[inline(always)]
    pub const fn tag_of(&self, kind: Hairpin) -> Tag {
        if self.is_lean() {
            return Tag { low: 0, high: 0 };
        }
        Tag { low: self.secret as u32 & !Self::TAG_KIND | kind as u32, high: (self.secret >> 32) as u32 }
    }

    /// The tag that the program on a child's own device sets: the secret, and the MAC (its key). Whoever
    /// rewrites the source of a frame behind that program cannot rewrite the tag.
    #[inline(always)]
    pub const fn vouching_tag(&self, mac: u64) -> Tag {
        let bound = self.secret ^ mac << Self::TAG_KIND.count_ones();
        Tag { low: bound as u32 & !Self::TAG_KIND | Self::TAG_VOUCHED, high: (bound >> 32) as u32 }
    }

    /// What is known, by its tag, of the sender of a frame with this source MAC (its key).
    #[inline(always)]
    pub const fn sender_of(&self, src: u64, tag: Tag) -> Sender {
        let vouching = self.vouching_tag(src);
        if (tag.low ^ vouching.low) | (tag.high ^ vouching.high) == 0 {
            Sender::Vouched
        } else if is_flooded(tag) {
            Sender::Flooded
        } else {
            Sender::Unknown
        }
    }

    /// The hairpin in a tag; `None` if the tag is not ours.
    #[inline(always)]
    pub const fn hairpin_of(&self, tag: Tag) -> Option<Hairpin> {
        if tag.high != (self.secret >> 32) as u32 || (tag.low ^ self.secret as u32) & !Self::TAG_KIND != 0 {
            return None;
        }
        match tag.low & Self::TAG_KIND {
            1 => Some(Hairpin::Unicast),
            2 => Some(Hairpin::Flood),
            3 => Some(Hairpin::BroadcastToHost),
            4 => Some(Hairpin::MulticastToHost),
            _ => None,
        }
    }
}

/// Bytes of text a [`Record`] holds.
pub const RECORD_LEN: usize = 4092;

/// Text that one command leaves for later ones, kept in the kernel beside the data path it describes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// Bytes used of `text`.
    pub len: u32,
    /// UTF-8.
    pub text: [u8; RECORD_LEN],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::HAIRPINS;

    #[test]
    fn xdp_sends_to_ports_where_it_is_native_and_sees_tags() {
        let sends = |flags, number| Config { flags, ..Config::default() }.xdp_sends_to(number);
        let native = Config::PORTS | Config::XDP_NATIVE;
        assert!(sends(native, 1) && sends(native, port::FIRST_WITHOUT_XDP - 1));
        assert!(!sends(native, 0) && !sends(native, port::FIRST_WITHOUT_XDP));
        assert!(!sends(native | Config::TAGS_OFF, 1));
        assert!(!sends(Config::PORTS, 1) && !sends(Config::PORTS | Config::XDP_GENERIC, 1));
    }

    #[test]
    fn only_a_tag_with_our_secret_is_ours() {
        let config = Config { secret: 0x1234_5678_abcd_ef77, ..Config::default() };
        for kind in HAIRPINS {
            let tag = config.tag_of(kind);
            assert_eq!(config.hairpin_of(tag), Some(kind));
            let lean = Config { flags: Config::LEAN, ..config };
            assert_eq!(lean.hairpin_of(lean.tag_of(kind)), None, "nobody would take it off");
            for bit in 0..32 {
                assert_eq!(config.hairpin_of(Tag { high: tag.high ^ 1 << bit, ..tag }), None);
            }
            for bit in 8..32 {
                assert_eq!(config.hairpin_of(Tag { low: tag.low ^ 1 << bit, ..tag }), None);
            }
        }
        for low in [0, 1, 0xabcd_ef00, 0xabcd_ef05, u32::MAX] {
            assert_eq!(config.hairpin_of(Tag { low, high: 0x1234_5678 }), None, "{low:#x}");
        }
        let mac = 0x6655_4433_2211;
        let vouching = config.vouching_tag(mac);
        assert_eq!((config.hairpin_of(vouching), config.sender_of(mac, vouching)), (None, Sender::Vouched));
        for bit in 0..48 {
            assert_eq!(config.sender_of(mac ^ 1 << bit, vouching), Sender::Unknown, "another's MAC");
        }
        for bit in 0..32 {
            for tag in [
                Tag { low: vouching.low ^ 1 << bit, ..vouching },
                Tag { high: vouching.high ^ 1 << bit, ..vouching },
            ] {
                assert_eq!(config.sender_of(mac, tag), Sender::Unknown);
            }
        }
    }
}
