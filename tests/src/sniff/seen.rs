//! Frames as a packet socket sees them.

use std::time::Duration;

/// Bytes of the two MACs, which come before the tag.
const ADDRESSES: usize = 12;

/// `PACKET_*` of `include/uapi/linux/if_packet.h`: whom the kernel takes a frame to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The device's own address.
    Host = 0,
    /// Broadcast.
    Broadcast = 1,
    /// Multicast.
    Multicast = 2,
    /// Somebody else: ARP, IPv4 and IPv6 ignore it.
    OtherHost = 3,
    /// Sent by this machine.
    Outgoing = 4,
}

impl Kind {
    /// Of this number.
    ///
    /// # Panics
    ///
    /// The kernel keeps the number for itself.
    pub fn from_kernel(number: u8) -> Self {
        match number {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            _ => panic!("packet type {number}, which is for the kernel's own use"),
        }
    }
}

/// One frame, as a packet socket saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whom it is for.
    pub kind: Kind,
    /// The VLAN tag that the kernel holds beside the frame: EtherType and tag.
    pub tag: Option<(u16, u16)>,
    /// The packet mark; 0 on a kernel that does not tell, see `Tap::tells_marks`.
    pub mark: u32,
    /// The packet priority; 0 unless asked for with `Tap::with_priority`.
    pub priority: u32,
    /// When it arrived, since 1970; `None` unless asked for with `Tap::with_times`.
    pub arrived: Option<Duration>,
    /// The frame, without such a tag.
    pub data: Vec<u8>,
}

impl Seen {
    /// The frame as it is on a wire, the tag in its place.
    pub fn whole(&self) -> Vec<u8> {
        let mut whole = self.data.clone();
        if let Some((ethertype, id)) = self.tag {
            let tag = [ethertype.to_be_bytes(), id.to_be_bytes()].concat();
            whole.splice(ADDRESSES..ADDRESSES, tag);
        }
        whole
    }
}
