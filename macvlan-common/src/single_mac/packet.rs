//! What is read of a frame and written into it, and what the table of addresses says.

use crate::l3::Address;

/// Who has an address: [`NOBODY`](Self::NOBODY) known, the host, everybody, or the child with this MAC (its key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose(pub u64);

impl Whose {
    /// Nobody that is known.
    pub const NOBODY: Self = Self(0);
    /// The host. No MAC of a single device: the group bit is set.
    pub const HOST: Self = Self(1);
    /// Everybody on the link: the broadcast address of a network.
    pub const ALL: Self = Self(0xffff_ffff_ffff);

    /// Whether it is a child.
    #[inline(always)]
    pub const fn is_child(self) -> bool {
        self.0 != 0 && self.0 & 1 == 0
    }
}

/// What can be read of a frame. Offsets are from its destination MAC, without a tag that the kernel holds beside it.
pub trait Bytes {
    /// The 16 bits at an offset, as sent; `None` beyond the frame.
    fn half(&self, at: u32) -> Option<u16>;

    /// The 32-bit words at an offset, as they lie in memory; `None` when the frame has not all.
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]>;
}

/// A frame on its way.
pub trait Packet: Bytes {
    /// Number of the VLAN whose tag the kernel holds beside the frame; 0 without.
    fn vlan(&self) -> u16;

    /// Whether this MAC (its key) is a child's.
    fn is_child(&self, mac: u64) -> bool;

    /// Who has an address of a VLAN.
    fn whose(&self, vlan: u32, address: Address) -> Whose;

    /// The child that asked last, before it had an address, whether anybody has this one of IPv4; 0 for none.
    fn prober(&self, vlan: u32, address: Address) -> u64;

    /// Remembers that the child with this MAC asked that.
    fn probes(&mut self, vlan: u32, address: Address, mac: u64);

    /// Hears that the child with this MAC has an address; `kind` is one of [`Holder`](super::Holder)'s.
    fn learn(&mut self, vlan: u32, address: Address, mac: u64, kind: u64);

    /// Writes a MAC; `false` when there is no memory for that.
    fn put_mac(&mut self, at: u32, mac: u64) -> bool;

    /// Writes an option of ICMPv6 over `old`, and mends the checksum there.
    fn put_option(&mut self, at: u32, old: [u32; 2], new: [u32; 2], checksum: u32) -> bool;

    /// Rewrites an option of neighbour discovery for the wire, as [`leave_option`](super::leave_option) does: in a
    /// function of its own where each turn of a loop is looked at.
    fn leave_option(&mut self, at: u32, checksum: u32, master: u64) -> u32;

    /// Writes 16 bits over `old` and mends the checksum of UDP, where there is one.
    fn put_half(&mut self, at: u32, old: u16, new: u16, checksum: u32) -> bool;
}
