//! A real keepalived on the host and one on the wire, each with the virtual MAC on a device of its own.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    needs, require,
    talk::ping_within,
};

use crate::{
    daemons::Daemon,
    scene::{Carrier, SHORT},
};

/// What the routers have together: the addresses of one family, by lines, and the one that a child asks for.
const FAMILIES: [(&str, &str); 2] =
    [("10.9.0.254/24", "10.9.0.254"), ("fe80::9:fe/64\nfd09::fe/64", "fd09::fe")];

/// More than twice as long as a backup waits for its master: three advertisements and a bit.
const WHILE: Duration = Duration::from_secs(4);

fn is_master(at: &Station, address: IpAddr) -> bool {
    at.ns.ip("-o addr show").contains(&format!(" {address}/"))
}

/// Whether it answers somebody who knows nobody yet.
fn reaches(from: &Station, address: IpAddr) -> bool {
    for family in ["-4", "-6"] {
        from.ns.ip(&format!("{family} neigh flush all"));
    }
    ping_within(from, address, SHORT)
}

/// The router on the wire is the master all the while, and the child reaches it.
#[track_caller]
fn stays_master(lab: &Lab, web: &Station, address: IpAddr, when: &str) {
    let start = Instant::now();
    while start.elapsed() < WHILE {
        assert!(
            is_master(&lab.wire, address) && !is_master(&lab.host, address),
            "{when}: two masters, or the wrong one"
        );
        assert!(reaches(web, address), "{when}: the child does not reach its gateway");
    }
}

#[test]
fn there_is_one_master_before_during_and_after() {
    needs!(require::lab, require::tc, require::binary, require::keepalived);
    for (addresses, address) in families() {
        let lab = Lab::with().full_ipv6().build();
        let web = lab.child("web", Mode::Bridge);
        let _there = Daemon::keepalived(&lab, &lab.wire, 200, addresses);
        wait_for("a master", || is_master(&lab.wire, address).then_some(()));
        let _here = Daemon::keepalived(&lab, &lab.host, 100, addresses);
        stays_master(&lab, &web, address, "before");
        for carrier in [Carrier::Attached, Carrier::Followed] {
            let running = carrier.start(&lab);
            stays_master(&lab, &web, address, &format!("{carrier:?}"));
            drop(running);
            lab.ctl(&["detach", "eth0"]).succeeded();
            stays_master(&lab, &web, address, "detached");
        }
    }
}

#[test]
fn a_fail_over_works_both_ways() {
    needs!(require::lab, require::tc, require::binary, require::keepalived);
    let carriers = [Carrier::Plain, Carrier::Attached, Carrier::Followed];
    for ((addresses, address), carrier) in families().flat_map(|family| carriers.map(|by| (family, by))) {
        let lab = Lab::with().full_ipv6().build();
        let web = lab.child("web", Mode::Bridge);
        let _running = carrier.start(&lab);
        let there = Daemon::keepalived(&lab, &lab.wire, 200, addresses);
        wait_for("a master", || is_master(&lab.wire, address).then_some(()));
        let _here = Daemon::keepalived(&lab, &lab.host, 100, addresses);
        stays_master(&lab, &web, address, &format!("{carrier:?}, at first"));
        there.stop();
        wait_for("the backup to take over", || is_master(&lab.host, address).then_some(()));
        assert!(reaches(&lab.wire, address), "{carrier:?}: the wire to the new master");
        let _there = Daemon::keepalived(&lab, &lab.wire, 200, addresses);
        let is_back = || is_master(&lab.wire, address) && !is_master(&lab.host, address);
        wait_for("the master to be back", || is_back().then_some(()));
        stays_master(&lab, &web, address, &format!("{carrier:?}, back"));
    }
}

fn families() -> impl Iterator<Item = (&'static str, IpAddr)> {
    FAMILIES.into_iter().map(|(addresses, asked)| (addresses, asked.parse().or_fail("read an address")))
}
