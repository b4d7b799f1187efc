//! Counters. Every one is a pair of frames and bytes; bytes are layer 2, without FCS.

/// Frames and the bytes in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Count {
    /// Frames; a segmentation-offloaded frame counts as the frames it stands for.
    pub packets: u64,
    /// Bytes from the destination MAC to the end of the payload.
    pub bytes: u64,
}

impl Count {
    /// Adds frames and bytes, wrapping as the kernel's own counters do.
    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// Whom a child exchanged a frame with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    /// Beyond the master.
    Wire = 0,
    /// The network stack that owns the master.
    Host = 1,
    /// Another child of the same master.
    Sibling = 2,
}

/// Every path, in the order of the counters.
pub const PATHS: [Path; 3] = [Path::Wire, Path::Host, Path::Sibling];

impl Path {
    /// Its name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Host => "host",
            Self::Sibling => "sibling",
        }
    }
}

/// Why a frame was dropped. Each drop is counted under exactly one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Between siblings that may not reach each other, directly or reflected by the switch.
    Isolated = 0,
    /// A broadcast sent back by the switch: its receivers here have their copy already.
    Reflected = 1,
    /// Unicast from the wire to an unknown MAC, with `--drop-unknown`.
    Unknown = 2,
    /// Its source MAC or its IP addresses are not its sender's.
    Spoofed = 3,
    /// Broadcast or multicast beyond the rate of the storm guard.
    Storm = 4,
    /// A router advertisement or redirect of a child that may not be a router.
    RaGuard = 5,
    /// A DHCP server's message of a child that may not be a DHCP server.
    DhcpGuard = 6,
    /// Beyond the rate that was set for the child.
    Rate = 7,
    /// From a MAC that is neither the master's nor a child's, on a wire that carries one MAC.
    Stranger = 8,
    /// A child's, to a wire that carries one MAC, where no answer to it could come back: neither ARP nor IP.
    Foreign = 9,
}

/// Every reason, in the order of the counters.
pub const DROP_REASONS: [DropReason; 10] = [
    DropReason::Isolated,
    DropReason::Reflected,
    DropReason::Unknown,
    DropReason::Spoofed,
    DropReason::Storm,
    DropReason::RaGuard,
    DropReason::DhcpGuard,
    DropReason::Rate,
    DropReason::Stranger,
    DropReason::Foreign,
];

impl DropReason {
    /// Its name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Reflected => "reflected",
            Self::Unknown => "unknown",
            Self::Spoofed => "spoofed",
            Self::Storm => "storm",
            Self::RaGuard => "ra_guard",
            Self::DhcpGuard => "dhcp_guard",
            Self::Rate => "rate",
            Self::Stranger => "stranger",
            Self::Foreign => "foreign",
        }
    }
}

/// What is counted of one child, in both directions as the child sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ChildCounters {
    /// Received, by [`Path`].
    pub rx: [Count; PATHS.len()],
    /// Sent, by [`Path`]. A broadcast counts once, as `wire`: it does leave on the wire.
    pub tx: [Count; PATHS.len()],
    /// Dropped, by [`DropReason`].
    pub drops: [Count; DROP_REASONS.len()],
}

impl ChildCounters {
    /// Adds another CPU's share.
    pub fn add(&mut self, other: &Self) {
        add_each(&mut self.rx, &other.rx);
        add_each(&mut self.tx, &other.tx);
        add_each(&mut self.drops, &other.drops);
    }
}

/// What the short ways count of one child (`plain.rs`), by its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SlotCounters {
    /// Received from the wire.
    pub wire_rx: Count,
    /// Received from the host.
    pub host_rx: Count,
    /// Sent to the host.
    pub host_tx: Count,
    /// Received from siblings.
    pub sibling_rx: Count,
    /// Sent to siblings.
    pub sibling_tx: Count,
}

impl SlotCounters {
    /// Adds this CPU's share to what else was counted of the child.
    pub fn add_to(&self, counters: &mut ChildCounters) {
        counters.rx[Path::Wire as usize].add(self.wire_rx);
        counters.rx[Path::Host as usize].add(self.host_rx);
        counters.tx[Path::Host as usize].add(self.host_tx);
        counters.rx[Path::Sibling as usize].add(self.sibling_rx);
        counters.tx[Path::Sibling as usize].add(self.sibling_tx);
    }
}

/// Where a broadcast or multicast frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FloodOrigin {
    /// Beyond the master.
    Wire = 0,
    /// The network stack that owns the master.
    Host = 1,
    /// A child.
    Child = 2,
}

/// Every origin, in the order of the counters.
pub const FLOOD_ORIGINS: [FloodOrigin; 3] = [FloodOrigin::Wire, FloodOrigin::Host, FloodOrigin::Child];

impl FloodOrigin {
    /// Its name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Host => "host",
            Self::Child => "child",
        }
    }
}

/// What is counted of the master as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct MasterCounters {
    /// Unicast from the wire to nobody here.
    pub unknown_unicast: Count,
    /// Broadcast and multicast, once per frame for any number of receivers, by [`FloodOrigin`].
    pub flood: [Count; FLOOD_ORIGINS.len()],
    /// Dropped without a child to charge, by [`DropReason`].
    pub drops: [Count; DROP_REASONS.len()],
    /// Copies of a broadcast that the kernel had no memory for; the frame itself went on.
    pub copy_failed: Count,
}

impl MasterCounters {
    /// Adds another CPU's share.
    pub fn add(&mut self, other: &Self) {
        self.unknown_unicast.add(other.unknown_unicast);
        add_each(&mut self.flood, &other.flood);
        add_each(&mut self.drops, &other.drops);
        self.copy_failed.add(other.copy_failed);
    }
}

fn add_each<const N: usize>(sums: &mut [Count; N], shares: &[Count; N]) {
    for (sum, share) in sums.iter_mut().zip(shares) {
        sum.add(*share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_orders_are_those_of_the_counters() {
        assert!(PATHS.iter().enumerate().all(|(index, path)| *path as usize == index));
        assert!(DROP_REASONS.iter().enumerate().all(|(index, reason)| *reason as usize == index));
        assert!(FLOOD_ORIGINS.iter().enumerate().all(|(index, origin)| *origin as usize == index));
    }

    #[test]
    fn shares_of_all_cpus_add_up() {
        let share = ChildCounters {
            rx: [Count { packets: 1, bytes: 60 }; 3],
            tx: [Count { packets: 2, bytes: 120 }; 3],
            drops: [Count { packets: 3, bytes: 180 }; DROP_REASONS.len()],
        };
        let mut sum = share;
        sum.add(&share);
        assert_eq!(sum.rx[2], Count { packets: 2, bytes: 120 });
        assert_eq!(sum.drops[1], Count { packets: 6, bytes: 360 });
    }
}
