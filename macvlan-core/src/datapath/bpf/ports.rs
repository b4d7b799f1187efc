//! What is less for ports where native XDP hands frames to them.

use std::collections::BTreeMap;

use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::bpf::record::Record,
    model::description::{Degraded, Demux},
};

/// What is told of these members on this master, whose driver has packets without checksums or not.
///
/// A stack behind a veth leaves checksums to the device, and the kernel forgets that when XDP sends such a packet to
/// another device (`skb->ip_summed` in `veth_xdp_rcv_skb`, drivers/net/veth.c): who gets it takes its checksum for wrong.
pub fn degraded(
    record: &Record,
    members: &BTreeMap<Mac, Policy>,
    (master, leaves_checksums): (&str, bool),
) -> Option<Degraded> {
    let has_ports = members.values().any(|policy| policy.port() != 0);
    (has_ports && record.demux == Demux::XdpNative && leaves_checksums).then(|| {
        let reason = format!(
            "what a stack behind {master:?} sends to ports has no checksums, so TCP does not connect: at the other \
             end of {master:?}, ethtool -K DEV tx off; or here: macvlan-ctl attach {master} --xdp off"
        );
        Degraded::new("ports", "checksums", "none", reason)
    })
}
