//! What is less for ports where native XDP hands frames to them.

use std::collections::BTreeMap;

use macvlan_common::{child::Policy, mac::Mac};

use crate::{
    datapath::bpf::{describe::OnMaster, record::Record},
    model::description::{Degraded, Demux},
};

/// What is told of these members on this master.
///
/// A stack behind a veth leaves checksums to the device, and the kernel forgets that when XDP sends such a packet to
/// another device (`skb->ip_summed` in `veth_xdp_rcv_skb`, drivers/net/veth.c): who gets it takes its checksum for wrong.
pub fn degraded(record: &Record, members: &BTreeMap<Mac, Policy>, on_master: &OnMaster) -> Option<Degraded> {
    let has_ports = members.values().any(|policy| policy.port() != 0);
    (has_ports && record.demux == Demux::XdpNative && on_master.leaves_checksums).then(|| {
        let reason = format!(
            "what a stack behind {0:?} sends to ports has no checksums, so TCP does not connect: at the other end of \
             {0:?}, ethtool -K DEV tx off; or here: macvlan-ctl attach {0} --xdp off",
            on_master.name
        );
        Degraded::new("ports", "checksums", "none", reason)
    })
}
