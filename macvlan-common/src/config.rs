//! What the programs know of their master, and the marks they put on frames.

use crate::child::{Mode, Policy};

/// Per-master settings, read by every program on every frame.
///
/// Each field is one aligned word: the kernel copies map values word by word
/// (`bpf_obj_memcpy` in `include/linux/bpf.h`), so a reader sees each field old or new, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Config {
    /// Key of the master's own MAC.
    pub master: u64,
    /// Key of the passthru child's MAC, 0 without one. Nothing is hairpinned beside such a child.
    pub passthru: u64,
    /// [`FLOOD`](Self::FLOOD) and the other constants of one bit.
    pub flags: u64,
    /// Upper 24 bits: drawn at random at attach, so that nobody can mark a frame as ours.
    pub mark: u32,
    /// Put before a frame as metadata once native XDP has judged it; drawn at random.
    pub meta: u32,
}

impl Config {
    /// The host's broadcasts are copied to the children: at least one child can hear them.
    pub const FLOOD: u64 = 1;

    /// The demultiplexer is in generic XDP: it sees every frame that TC ingress sees, and before it.
    pub const XDP_GENERIC: u64 = 2;

    /// The demultiplexer is in native XDP: it leaves word before each frame that it has judged.
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

    /// The flags that follow from the children, see [`flags_of`](Self::flags_of).
    pub const OF_CHILDREN: u64 = Self::FLOOD | Self::ANTI_SPOOF | Self::REFLECT;

    /// What children with these policies ask of the programs.
    pub fn flags_of(policies: impl Iterator<Item = Policy>) -> u64 {
        policies.fold(0, |flags, policy| {
            let hears_host = policy.host_access() && !matches!(policy.mode(), Mode::Passthru | Mode::Source);
            flags
                | if hears_host { Self::FLOOD } else { 0 }
                | if policy.is_guarded() { Self::ANTI_SPOOF } else { 0 }
                | if policy.reflects() { Self::REFLECT } else { 0 }
        })
    }

    /// Requests for a known address go to its owner alone ([`neigh`](crate::neigh)).
    pub const DIRECTS: u64 = 1 << 8;

    /// Broadcast and multicast is limited to a rate ([`limit`](crate::limit)).
    pub const STORM_GUARD: u64 = 1 << 9;

    /// Bits of the packet mark that hold a [`Hairpin`].
    pub const MARK_KIND: u32 = 0xff;

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

    /// Whether a frame that leaves through the master must bear a MAC that is known here.
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

    /// The packet mark of a frame turned around as `kind`.
    #[inline(always)]
    pub const fn mark_of(&self, kind: Hairpin) -> u32 {
        self.mark & !Self::MARK_KIND | kind as u32
    }

    /// Which of our hairpins a packet mark tells of; `None` for anybody else's mark.
    #[inline(always)]
    pub const fn hairpin_of(&self, mark: u32) -> Option<Hairpin> {
        if (mark ^ self.mark) & !Self::MARK_KIND != 0 {
            return None;
        }
        match mark & Self::MARK_KIND {
            1 => Some(Hairpin::Unicast),
            2 => Some(Hairpin::Flood),
            3 => Some(Hairpin::BroadcastToHost),
            4 => Some(Hairpin::MulticastToHost),
            _ => None,
        }
    }
}

/// Why a frame was turned around, told from TC egress to TC ingress in the packet mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hairpin {
    /// Unicast between host and child or between siblings, or a copy of a child's broadcast for
    /// siblings and host: every receiver takes it as it comes.
    Unicast = 1,
    /// Copy of the host's broadcast or multicast: for the children, never for the host.
    Flood = 2,
    /// Copy of a child's broadcast: for the host, never for a child. It bears the host's MAC as
    /// destination, so the mark says what it was.
    BroadcastToHost = 3,
    /// Copy of a child's multicast, likewise.
    MulticastToHost = 4,
}

/// Every kind of hairpin.
pub const HAIRPINS: [Hairpin; 4] =
    [Hairpin::Unicast, Hairpin::Flood, Hairpin::BroadcastToHost, Hairpin::MulticastToHost];

/// Octets of text a [`Record`] holds.
pub const RECORD_LEN: usize = 4092;

/// Text that one command leaves for later ones, kept in the kernel beside what it speaks of.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// Octets used of `text`.
    pub len: u32,
    /// UTF-8.
    pub text: [u8; RECORD_LEN],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_with_our_secret_is_ours() {
        let config = Config { mark: 0xabcd_ef77, ..Config::default() };
        for kind in HAIRPINS {
            assert_eq!(config.hairpin_of(config.mark_of(kind)), Some(kind));
            assert_eq!(config.hairpin_of(config.mark_of(kind) ^ 0x100), None);
        }
        for mark in [0, 1, 0xabcd_ef00, 0xabcd_ef05, u32::MAX] {
            assert_eq!(config.hairpin_of(mark), None, "{mark:#x}");
        }
    }
}
