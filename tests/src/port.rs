//! A port: a device whose frames a program takes past the network stack, and somebody to talk with through it.

use macvlan_bench::lab::cables::{CableEnd, bring_up, cable, on};
use macvlan_core::kernel::{ethtool::Ethtool, netlink::Netlink};

use crate::{
    fail::OrFail as _,
    lab::{Lab, Station},
    station::Ipv6,
};

/// A port, and who is behind it.
#[derive(Debug)]
pub struct Port {
    /// Where the program is. The device has no address: the program answers for it.
    pub station: Station,
    /// An ordinary stack that reaches the device.
    pub peer: Station,
}

impl Port {
    /// A port in a namespace of its own.
    #[track_caller]
    pub fn new(lab: &Lab) -> Self {
        let (station, peer) = (lab.newcomer("eth0"), lab.newcomer("peer0"));
        let near = CableEnd::new(&station.ns, &station.dev).mac(station.mac);
        let far = CableEnd::new(&peer.ns, &peer.dev).mac(peer.mac);
        on(&station.ns, async || {
            let netlink = Netlink::open()?;
            cable(&netlink, near, far).await?;
            bring_up(&netlink, &station.dev, []).await.map(drop)
        })
        .or_fail("make a port");
        on(&peer.ns, async || {
            let device = Ethtool::open(peer.dev.parse()?)?;
            // What XDP sends into a veth is taken where the other end polls, and nothing computes checksums behind it.
            device.set_gro(true)?;
            device.set_tx_checksum(false)
        })
        .or_fail("set a port up");
        peer.come_up(Ipv6::Off);
        peer.wait_until_up();
        Self { station, peer }
    }
}
