//! The socket that a frame was sent by, where a master is strict and no program can be on the macvlan driver: a frame with
//! the host's MAC is forged if a socket of another network namespace wrote that MAC.
//!
//! A frame keeps its socket on its way through the devices of namespaces (`skb_scrub_packet` in net/core/skbuff.c), until a
//! stack receives or forwards it. So that of a container is behind honest frames too, where a tunnel of the host takes them
//! on; but it is one that leaves the MACs to the kernel.

/// `include/linux/socket.h`.
const AF_PACKET: u32 = 17;
const AF_XDP: u32 = 44;

/// Whether who sends by a socket of this address family writes the MACs himself.
#[inline(always)]
pub const fn writes_macs(family: u32) -> bool {
    matches!(family, AF_PACKET | AF_XDP)
}
