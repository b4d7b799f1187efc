//! A real FRR on the host and one on the wire: a backup keeps its device protodown.

use std::time::{Duration, Instant};

use macvlan_common::child::Mode;
use macvlan_tests::{
    fail::wait_for,
    lab::{Lab, Station},
    needs, require,
    talk::ping_within,
};

use crate::{
    daemons::Daemon,
    scene::{CARRIERS, Carrier, SHORT},
};

const ADDRESS: &str = "10.9.0.254";

/// More than twice as long as a backup waits for its master: three advertisements and a bit.
const WHILE: Duration = Duration::from_secs(4);

fn is_master(at: &Station) -> bool {
    !at.ns.ip("-d link show vrrp4").contains("protodown on")
}

/// A router that has begun as a backup: before, its device looks like a master's.
#[track_caller]
fn begun(lab: &Lab, at: &Station, priority: u8) -> Daemon {
    let daemon = Daemon::frr(lab, at, priority, ADDRESS);
    wait_for("a backup", || (!is_master(at)).then_some(()));
    daemon
}

#[track_caller]
fn stays_master(lab: &Lab, when: &str) {
    let start = Instant::now();
    while start.elapsed() < WHILE {
        assert!(is_master(&lab.wire) && !is_master(&lab.host), "{when}: two masters, or the wrong one");
    }
}

fn reaches(web: &Station) -> bool {
    web.ns.ip("neigh flush all");
    ping_within(web, ADDRESS.parse().unwrap_or_else(|_| unreachable!()), SHORT)
}

#[test]
fn frr_has_one_master_before_during_and_after() {
    needs!(require::lab, require::tc, require::binary, require::frr);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Private);
    let _there = begun(&lab, &lab.wire, 200);
    let _here = begun(&lab, &lab.host, 100);
    wait_for("a master", || (is_master(&lab.wire) && !is_master(&lab.host)).then_some(()));
    stays_master(&lab, "before");
    assert!(reaches(&web), "the child reaches its gateway");
    for carrier in [Carrier::Attached, Carrier::Followed] {
        let running = carrier.start(&lab);
        stays_master(&lab, &format!("{carrier:?}"));
        assert!(reaches(&web), "{carrier:?}: the child reaches its gateway");
        drop(running);
        lab.ctl(&["detach", "eth0"]).succeeded();
        stays_master(&lab, "detached");
    }
}

#[test]
fn frr_fails_over_both_ways() {
    needs!(require::lab, require::tc, require::binary, require::frr);
    for carrier in CARRIERS {
        let lab = Lab::new();
        let _running = carrier.start(&lab);
        let there = begun(&lab, &lab.wire, 200);
        let _here = begun(&lab, &lab.host, 100);
        wait_for("a master", || (is_master(&lab.wire) && !is_master(&lab.host)).then_some(()));
        stays_master(&lab, &format!("{carrier:?}, at first"));
        there.stop();
        wait_for("the backup to take over", || is_master(&lab.host).then_some(()));
        lab.wire.ns.ip("link del vrrp4");
        let _there = begun(&lab, &lab.wire, 200);
        wait_for("the master to be back", || (is_master(&lab.wire) && !is_master(&lab.host)).then_some(()));
        stays_master(&lab, &format!("{carrier:?}, back"));
    }
}
