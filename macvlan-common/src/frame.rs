//! A frame as a hook meets it: what the decision is asked.

use crate::tag::{Hairpin, Sender};

/// Where a frame was met, and what is known of it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// XDP on the master. In native mode only frames from the wire pass here; in generic mode
    /// hairpinned and sibling frames do too.
    Xdp,
    /// TC ingress on the master: from the wire, or from one bridge-mode child to another.
    Ingress,
    /// TC ingress, a frame that native XDP has judged and counted.
    Judged,
    /// TC ingress, where generic XDP has seen the frame: what certainly comes from outside was judged
    /// there.
    AfterXdp,
    /// TC ingress, a frame that TC egress has turned around.
    Turned(Hairpin),
    /// TC egress on the master: from the host or a child, bound for the wire.
    Egress,
}

/// The MACs of a frame and what is known of them, as [`Mac::key`](crate::mac::Mac::key)s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Destination.
    pub dst: u64,
    /// Source: what the sender wrote, which need not be true.
    pub src: u64,
    /// What else is known of the sender.
    pub sender: Sender,
    /// At TC ingress: the kernel takes the destination for the host's own MAC (`PACKET_HOST`), which it may
    /// be though it is not the one in [`Config::master`](crate::config::Config::master): the device has got
    /// another one since, or is a VLAN on one with another MAC.
    pub to_host: bool,
}
