//! What comes with a socket: docs/user-space.md has it byte by byte.

use macvlan_core::kernel::{netlink::link::Link, xsk::socket::FRAME_SIZE};

/// What the message begins with: its kind and its version.
const MAGIC: [u8; 4] = *b"xsk1";

/// Of the flags: the device itself reads and writes the frames.
const ZERO_COPY: u32 = 1;

/// The message, numbers in the order of this machine. A device without a MAC (`lo`) has zeroes.
pub fn message(queue: u32, frames: u32, is_zero_copy: bool, link: &Link) -> [u8; 32] {
    let flags = if is_zero_copy { ZERO_COPY } else { 0 };
    let mut message = [0; 32];
    message[..4].copy_from_slice(&MAGIC);
    for (place, number) in
        message[4..24].chunks_exact_mut(4).zip([queue, frames, FRAME_SIZE, link.mtu, flags])
    {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    if let Some(mac) = link.mac {
        message[24..30].copy_from_slice(&mac.octets());
    }
    message
}
