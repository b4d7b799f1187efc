//! What our programs tell each other of a frame, beside it.

/// The last two words of `__sk_buff::cb`: the secret of a [`Config`](crate::config::Config) and what
/// the frame is.
///
/// Those 20 bytes (`qdisc_skb_cb::data` in include/net/sch_generic.h) go with a frame from one hook
/// to the next, through `bpf_redirect` and `bpf_clone_redirect` too. No socket sees them, unlike the
/// packet mark, which a capture on the master would show. Other layers leave their own data there, so
/// only the secret makes it a tag. Qdiscs use the first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tag {
    /// `cb[3]`: the secret's lower half; its last byte is the [`Hairpin`].
    pub low: u32,
    /// `cb[4]`: the secret's upper half.
    pub high: u32,
}

/// Why a frame was turned around, told from TC egress to TC ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hairpin {
    /// Unicast between host and child or between siblings, or a copy of a child's broadcast for
    /// siblings and host: every receiver takes it as it comes.
    Unicast = 1,
    /// Copy of the host's broadcast or multicast: for the children, never for the host.
    Flood = 2,
    /// Copy of a child's broadcast: for the host, never for a child. Its destination is the host's
    /// MAC, so the tag says what it was.
    BroadcastToHost = 3,
    /// Copy of a child's multicast, likewise.
    MulticastToHost = 4,
}

/// Every kind of hairpin.
pub const HAIRPINS: [Hairpin; 4] =
    [Hairpin::Unicast, Hairpin::Flood, Hairpin::BroadcastToHost, Hairpin::MulticastToHost];

/// What is known of who sent a frame, beside its source MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sender {
    /// Nothing: it came from the wire, or from a device that has no program of ours.
    #[default]
    Unknown,
    /// The program on a child's own device saw it leave there under that child's MAC.
    Vouched,
    /// The [flood device](crate::flood) has given it to the children.
    Flooded,
    /// A macvlan device of this master sends it ([`sending`](crate::sending)), or a socket of another namespace
    /// ([`socket`](crate::socket)): whatever its MAC says, the host does not.
    Macvlan,
}
