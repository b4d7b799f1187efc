//! A real keepalived on the host and one on the wire, each with the virtual MAC on a device of its own.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use macvlan_common::child::Mode;
use macvlan_tests::{
    fail::wait_for,
    lab::{Lab, Station},
    needs, require,
    talk::ping_within,
};

use crate::{
    daemons::Daemon,
    scene::{Carrier, SHORT},
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);

/// More than twice as long as a backup waits for its master: three advertisements and a bit.
const WHILE: Duration = Duration::from_secs(4);

fn is_master(at: &Station) -> bool {
    at.ns.ip("-4 -o addr show").contains(&format!("inet {ADDRESS}/"))
}

/// The router on the wire is the master all the while, and the child reaches it.
#[track_caller]
fn stays_master(lab: &Lab, web: &Station, when: &str) {
    web.ns.ip("neigh flush all");
    let start = Instant::now();
    while start.elapsed() < WHILE {
        assert!(is_master(&lab.wire) && !is_master(&lab.host), "{when}: two masters, or the wrong one");
        assert!(ping_within(web, ADDRESS.into(), SHORT), "{when}: the child does not reach its gateway");
    }
}

#[test]
fn there_is_one_master_before_during_and_after() {
    needs!(require::lab, require::tc, require::binary, require::keepalived);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _there = Daemon::keepalived(&lab, &lab.wire, 200, "10.9.0.254");
    wait_for("a master", || is_master(&lab.wire).then_some(()));
    let _here = Daemon::keepalived(&lab, &lab.host, 100, "10.9.0.254");
    stays_master(&lab, &web, "before");
    for carrier in [Carrier::Attached, Carrier::Followed] {
        let running = carrier.start(&lab);
        stays_master(&lab, &web, &format!("{carrier:?}"));
        drop(running);
        lab.ctl(&["detach", "eth0"]).succeeded();
        stays_master(&lab, &web, "detached");
    }
}

#[test]
fn a_fail_over_works_both_ways() {
    needs!(require::lab, require::tc, require::binary, require::keepalived);
    for carrier in [Carrier::Plain, Carrier::Attached, Carrier::Followed] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let _running = carrier.start(&lab);
        let there = Daemon::keepalived(&lab, &lab.wire, 200, "10.9.0.254");
        wait_for("a master", || is_master(&lab.wire).then_some(()));
        let _here = Daemon::keepalived(&lab, &lab.host, 100, "10.9.0.254");
        stays_master(&lab, &web, &format!("{carrier:?}, at first"));
        there.stop();
        wait_for("the backup to take over", || is_master(&lab.host).then_some(()));
        lab.wire.ns.ip("neigh flush all");
        assert!(ping_within(&lab.wire, ADDRESS.into(), SHORT), "{carrier:?}: the wire to the new master");
        let _there = Daemon::keepalived(&lab, &lab.wire, 200, "10.9.0.254");
        wait_for("the master to be back", || (is_master(&lab.wire) && !is_master(&lab.host)).then_some(()));
        stays_master(&lab, &web, &format!("{carrier:?}, back"));
    }
}
