//! Who is there in the cases, and a frame in memory.

use crate::{inspect::packet::Packet, l3::Address, mac::Mac};

/// The MAC of the child that sends.
pub const CHILD: Mac = Mac::new([0x02, 0, 0, 0, 1, 1]);
/// The MAC that it sends to: nobody's here.
pub const PEER: Mac = crate::cases::OUTSIDE;
/// Its IPv4 address.
pub const OWN4: [u8; 4] = [10, 9, 0, 11];
/// One that is not its own.
pub const FOREIGN4: [u8; 4] = [10, 9, 0, 1];
/// Its IPv6 address.
pub const OWN6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
/// One that is not its own.
pub const FOREIGN6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// No address.
pub const NONE4: [u8; 4] = [0; 4];
/// No address.
pub const NONE6: [u8; 16] = [0; 16];

/// A frame in memory.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPacket<'a> {
    /// From the destination MAC on.
    pub frame: &'a [u8],
    /// The sender's addresses.
    pub own: &'a [Address],
}

impl MemoryPacket<'_> {
    fn at<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.frame.get(at as usize..)?.get(..N)?.try_into().ok()
    }
}

impl Packet for MemoryPacket<'_> {
    fn half(&self, at: u32) -> Option<u16> {
        self.at(at).map(u16::from_be_bytes)
    }

    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (number, word) in (0..).zip(&mut words) {
            *word = u32::from_ne_bytes(self.at(at + 4 * number)?);
        }
        Some(words)
    }

    fn owns(&self, address: Address) -> bool {
        self.own.contains(&address)
    }
}
