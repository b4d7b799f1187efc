//! Switching on and off, and another MAC, while frames flow.

use std::{
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

use macvlan_common::mac::Mac;
use macvlan_tests::{
    attached::{Attached, tc_means},
    control::{record, status},
    fail::OrFail as _,
    following::Following,
    lab::{FAMILIES, Lab, Station},
    needs,
    one_mac_port::OneMacPort,
    require,
    talk::ping,
};

use crate::scene::{attach, lab, port};

/// Echo requests a second.
const RATE: u32 = 500;

/// So many a second, where it counts how soon things are well again.
const SLOW: u32 = 50;

/// Echo requests, so many a second, for so many seconds.
struct Pings(String, Child);

impl Pings {
    #[track_caller]
    fn start(from: &Station, to: &str, seconds: u32, rate: u32) -> Self {
        let count = (seconds * rate).to_string();
        let mut command = from.ns.command("ping");
        command.args(["-q", "-n", "-i", &(1.0 / f64::from(rate)).to_string(), "-W", "1", "-c", &count, to]);
        let child = command.stdout(Stdio::piped()).spawn().or_fail("start ping");
        Self(format!("{} to {to}", from.dev), child)
    }

    /// How many were not answered.
    #[track_caller]
    fn lost(self) -> (String, i64) {
        let output = self.1.wait_with_output().or_fail("wait for ping");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line =
            text.lines().find(|line| line.contains("packets transmitted")).or_fail("read ping's report");
        let numbers: Vec<i64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (self.0, numbers[0] - numbers[1])
    }
}

fn streams(lab: &Lab, child: &Station, seconds: u32, rate: u32) -> Vec<Pings> {
    let ways = FAMILIES.map(|family| {
        let (there, here) = (lab.wire.address(family).to_string(), child.address(family).to_string());
        [Pings::start(child, &there, seconds, rate), Pings::start(&lab.wire, &here, seconds, rate)]
    });
    ways.into_iter().flatten().collect()
}

#[test]
fn switching_on_and_off_loses_nothing() {
    needs!(require::lab, require::tcx, require::ping_command);
    let (lab, [child, _]) = lab();
    let attached = Attached::new(&lab, &[]);
    for family in FAMILIES {
        assert!(ping(&child, lab.wire.address(family)));
    }
    let streams = streams(&lab, &child, 6, RATE);
    sleep(Duration::from_millis(500));
    lab.ctl(&["attach", "eth0", "--single-mac"]).succeeded();
    assert_eq!(attached.status()["single_mac"], true);
    // Only now does the port carry no other MAC.
    let port = port(&lab);
    sleep(Duration::from_millis(1000));
    drop(port);
    lab.ctl(&["attach", "eth0", "--single-mac=off"]).succeeded();
    assert_eq!(attached.status()["single_mac"], false);
    for (way, lost) in streams.into_iter().map(Pings::lost).collect::<Vec<_>>() {
        assert_eq!(lost, 0, "{way}");
    }
    assert!(ping(&lab.wire, child.ip.into()) && ping(&child, lab.wire.ip6.into()));
    let again = lab.ctl(&["attach", "eth0", "--dry-run"]).succeeded().stdout;
    assert!(again.ends_with("keep the data path on \"eth0\"\n"), "{again}");
}

#[test]
fn detaching_loses_nothing_where_the_wire_carries_all_macs() {
    needs!(require::lab, require::tcx, require::ping_command);
    for means in tc_means() {
        let (lab, [child, _]) = lab();
        let attached = attach(&lab, &["--tc", means]);
        for family in FAMILIES {
            assert!(ping(&child, lab.wire.address(family)) && ping(&lab.wire, child.address(family)));
        }
        let streams = streams(&lab, &child, 4, RATE);
        sleep(Duration::from_millis(500));
        attached.detach(&[]).succeeded();
        for (way, lost) in streams.into_iter().map(Pings::lost).collect::<Vec<_>>() {
            // The kernel stops the device's queues as clsact goes (`qdisc_graft` in net/sched/sch_api.c).
            let most = if *means == "clsact" { 2 } else { 0 };
            assert!(lost <= most, "{means}: {way}: {lost} lost");
        }
        let known = lab.wire.ns.ip_json("neigh show").to_string();
        assert!(known.contains(&child.mac.to_string()), "{known}");
    }
}

#[test]
fn run_follows_another_mac_of_the_master() {
    needs!(require::lab, require::tcx);
    const NEW: Mac = Mac::new([2, 0, 0, 0, 9, 9]);
    let (lab, [child, _]) = lab();
    let first = port(&lab);
    let run = Following::start(&lab, &["eth0", "--single-mac"]);
    for family in FAMILIES {
        assert!(ping(&child, lab.wire.address(family)) && ping(&lab.wire, child.address(family)));
    }
    drop(first);
    let _port = OneMacPort::new(&lab.wire.ns, &lab.port, NEW);
    lab.host.ns.ip(&format!("link set eth0 address {NEW}"));
    for family in FAMILIES {
        assert!(ping(&lab.wire, child.address(family)), "the wire to the child, {family:?}");
        assert!(ping(&child, lab.wire.address(family)), "the child to the wire, {family:?}");
    }
    drop(run);
}

#[test]
fn another_mac_of_the_master_costs_no_more_than_two_of_50_pings_a_second() {
    needs!(require::lab, require::tcx, require::ping_command);
    let (lab, [child, _]) = lab();
    let _run = Following::start(&lab, &["eth0", "--single-mac"]);
    for family in FAMILIES {
        assert!(ping(&child, lab.wire.address(family)) && ping(&lab.wire, child.address(family)));
    }
    let streams = streams(&lab, &child, 2, SLOW);
    sleep(Duration::from_millis(500));
    lab.host.ns.ip("link set eth0 address 02:00:00:00:09:09");
    for (way, lost) in streams.into_iter().map(Pings::lost).collect::<Vec<_>>() {
        assert!(lost <= 2, "{way}: {lost} lost");
    }
}

#[test]
fn auto_leaves_a_cable_alone_and_is_kept_for_a_device_that_comes_later() {
    needs!(require::lab, require::tcx, require::binary);
    let (lab, [child, other]) = lab();
    lab.host.ns.ip("link set eth0 down");
    let run = Following::launch(&lab, &["eth0", "--single-mac=auto"]);
    run.wait_for_line("waiting: it is down");
    lab.host.ns.ip("link set eth0 up");
    run.wait_for_line("eth0: attached");
    run.wait_for_members(&[&child, &other]);
    assert_eq!(status(&lab)["single_mac"], false);
    assert_eq!(record(&lab)["single_mac"], "auto");
    assert!(ping(&lab.wire, child.ip.into()));
}

#[test]
fn a_child_that_goes_leaves_its_address_to_others() {
    needs!(require::lab, require::tcx);
    let (lab, [child, other]) = lab();
    let _port = port(&lab);
    let attached = attach(&lab, &[]);
    assert!(ping(&lab.wire, child.ip.into()));
    child.ns.ip(&format!("link del {}", child.dev));
    lab.ctl(&["attach", "eth0"]).succeeded();
    other.ns.ip(&format!("addr add {}/24 dev {}", child.ip, other.dev));
    assert!(ping(&other, lab.wire.ip.into()));
    assert!(ping(&lab.wire, child.ip.into()), "the other one has the address now");
    assert!(!attached.status().to_string().contains(&child.mac.to_string()));
}
