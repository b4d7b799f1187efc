//! A multicast flow of the host's, beside plain macvlan, where it never reaches a child.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Instant,
};

use macvlan_tests::{
    attached::Attached,
    claim::{Claim, hold, said},
    fail::OrFail as _,
    lab::Lab,
    measure::{rounds, spread, spread_of_ratios},
    needs,
    netns::Netns,
    require,
};

const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 9, 9, 9), 9000);
const CHILDREN: usize = 40;
const ROUNDS: usize = 41;

/// Datagrams per measurement: some 30 ms.
const DATAGRAMS: u32 = 15_000;

#[test]
fn a_group_that_no_child_has_joined_costs_the_host_little() {
    needs!(require::lab, require::binary);
    let flows = [0, 0, 10].map(Flow::new);
    let _ours = [1, 2].map(|contender| {
        let attached = Attached::new(&flows[contender].lab, &[]);
        assert_eq!(attached.status()["host_flood"], "device");
        attached
    });
    // A frame that all 40 get costs ten times a plain one.
    let least = said("docs/performance.md", "host to a multicast group that no child has joined", 1).0;
    let claims = [
        Claim::at_least(least, (1, 0), "a group that nobody joined, of plain"),
        Claim::at_least(1.5, (1, 2), "a group that nobody joined, of one that 10 have"),
    ];
    let rates: [Vec<f64>; 3] =
        hold(&claims, || rounds(ROUNDS, |contender| flows[contender].sent_per_second()));
    let of_plain = |contender: usize| spread_of_ratios(&rates[contender], &rates[0]);
    println!(
        "host to a group, 64-byte UDP, {CHILDREN} children, {ROUNDS} rounds: plain {:.2} Mpps; of plain: joined by \
         none {}, by 10 {}",
        spread(&rates[0]).median / 1e6,
        of_plain(1),
        of_plain(2)
    );
}

/// A host that sends to a group which so many of its children have joined.
struct Flow {
    lab: Lab,
    socket: UdpSocket,
    _home: Netns,
}

impl Flow {
    fn new(joined: usize) -> Self {
        let (lab, home) = (Lab::new(), Netns::new());
        for name in ["all", "default"] {
            home.sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
        }
        let path = home.path();
        let make = |number| {
            format!("link add link eth0 name m{number} netns {} type macvlan mode bridge", path.display())
        };
        lab.host.ns.ip_batch((0..CHILDREN).map(make));
        home.ip_batch((0..CHILDREN).map(|number| format!("link set m{number} up")));
        home.ip_batch((0..joined).map(|number| format!("link set m{number} allmulticast on")));
        lab.host.ns.ip("route add 239.0.0.0/8 dev eth0");
        let socket = lab.host.ns.enter(|| {
            let socket = UdpSocket::bind((lab.host.ip, 0)).or_fail("bind a UDP socket");
            socket.connect(GROUP).or_fail("choose a group");
            socket
        });
        Self { lab, socket, _home: home }
    }

    /// Datagrams that the host sends per second.
    fn sent_per_second(&self) -> f64 {
        let start = Instant::now();
        for _ in 0..DATAGRAMS {
            self.socket.send(&[0; 64]).or_fail("send a datagram");
        }
        f64::from(DATAGRAMS) / start.elapsed().as_secs_f64()
    }
}
