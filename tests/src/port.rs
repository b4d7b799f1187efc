//! A port whose frames a program takes past the network stack, and somebody to talk with through it.

use macvlan_bench::lab::cables::on;
use macvlan_core::kernel::ethtool::Ethtool;

use crate::{
    fail::OrFail as _,
    lab::{Lab, Station},
};

/// A port, and who is behind its master.
#[derive(Debug)]
pub struct Port<'lab> {
    /// Where the program is. The device has no address: the program answers for it.
    pub station: Station,
    /// An ordinary stack on the wire.
    pub peer: &'lab Station,
}

impl<'lab> Port<'lab> {
    /// A port in a namespace of its own, of a master with native XDP.
    #[track_caller]
    pub fn new(lab: &'lab Lab) -> Self {
        lab.leave_tags();
        let (station, peer) = (lab.newcomer("eth0"), &lab.wire);
        let settings = format!("eth0,kind=port,netns={},mac={}", station.ns.path().display(), station.mac);
        lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "native", "--child", &settings]).succeeded();
        station.wait_until_up();
        // Nothing computes checksums behind it.
        on(&peer.ns, async || Ethtool::open(peer.dev.parse()?)?.set_tx_checksum(false))
            .or_fail("set the wire up");
        Self { station, peer }
    }
}
