//! What the host sends to all: every child hears it once, the wire too, and the host itself never, as with plain
//! macvlan. Through the flood device where that can be, and without it where not.

use macvlan_common::{child::Mode, flood::is_index, mac::Mac};
use macvlan_tests::{
    attached::{Attached, tc_means},
    control::{names_of, status},
    crowd::ALL_HOSTS,
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{Marker, marked},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap},
    talk::reach_each_other,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// All intermediate systems (ISO 10589).
const IS_IS: Mac = Mac::new([0x09, 0, 0x2b, 0, 0, 5]);

/// Bytes before the EtherType, or the length in its place.
const ADDRESSES: usize = 12;

/// A tag of 802.1Q, for VLAN 5.
const TAG: [u8; 4] = [0x81, 0, 0, 5];

#[test]
fn the_host_hears_nothing_of_what_it_sends_to_all() {
    needs!(require::lab, require::tc, require::binary);
    let mut args: Vec<Vec<&str>> = tc_means().iter().map(|means| vec!["--tc", *means]).collect();
    args.extend([vec!["--xdp", "native"], vec!["--xdp", "generic"], vec!["--no-directed-neigh"]]);
    args.extend([vec!["--ingress", "off"], vec!["--ingress", "off", "--xdp", "native"]]);
    for args in &args {
        let crowd = Crowd::new(&[Mode::Bridge, Mode::Bridge]);
        let tap = crowd.lab.macvtap("tap", Mode::Bridge);
        join(&tap);
        crowd.check(0, 0, "plain macvlan");
        let attached = Attached::new(&crowd.lab, args);
        assert_eq!(attached.status()["host_flood"], "device", "{args:?}");
        crowd.check(1, 0, &format!("{args:?}"));
        attached.detach(&[]).succeeded();
        assert_eq!(flood_devices(&crowd.lab.host), [""; 0], "after a detach, {args:?}");
        crowd.check(0, 0, &format!("after a detach, {args:?}"));
    }
}

#[test]
fn nothing_is_lost_without_the_device_and_the_next_attach_makes_it_anew() {
    needs!(require::lab, require::tc, require::binary);
    for means in tc_means() {
        let crowd = Crowd::new(&[Mode::Bridge, Mode::Bridge]);
        let host = &crowd.lab.host;
        let away = crowd.lab.newcomer("away");
        let _attached = Attached::new(&crowd.lab, &["--tc", means]);
        for what in
            ["link del DEV", "link set DEV down", &format!("link set DEV netns {}", away.ns.path().display())]
        {
            let before = only_flood_device(host);
            host.ns.ip(&what.replace("DEV", &before));
            crowd.check(1, 1, &format!("{means}: {what}"));
            crowd.lab.ctl(&["attach", "eth0"]).succeeded();
            only_flood_device(host);
            crowd.check(1, 0, &format!("{means}: attached after {what}"));
        }
    }
}

#[test]
fn a_child_that_the_device_cannot_reach_is_reached_without_it() {
    needs!(require::lab, require::tc, require::binary);
    for mode in [Mode::Private, Mode::Vepa] {
        let mut crowd = Crowd::new(&[Mode::Bridge]);
        let run = Following::start(&crowd.lab, &["eth0"]);
        wait_for_flood(&crowd.lab, "device");
        crowd.check(1, 0, "run");
        let other = crowd.lab.child("other", mode);
        join(&other);
        crowd.children.push(other);
        wait_for_flood(&crowd.lab, "master");
        wait_until_none(&crowd.lab.host);
        crowd.check(1, 1, &format!("run, with a child in mode {}", mode.as_str()));
        let other = crowd.children.pop().or_fail("take the last child");
        other.ns.ip("link set other down");
        wait_for_flood(&crowd.lab, "device");
        crowd.check(1, 0, "run, while it is down");
        other.ns.ip("link set other up");
        wait_for_flood(&crowd.lab, "master");
        other.ns.ip("link del other");
        wait_for_flood(&crowd.lab, "device");
        crowd.check(1, 0, "run, without it");
        assert!(run.end(Signal::SIGTERM).success());
        assert_eq!(status(&crowd.lab)["host_flood"], "device", "it stays with the data path");
    }
}

#[test]
fn what_the_device_cannot_be_made_for_is_told_and_nothing_is_lost() {
    needs!(require::lab, require::tc, require::binary);
    let crowd = Crowd::new(&[Mode::Bridge]);
    crowd.lab.host.ns.ip("link add mvflood2 type veth peer name other");
    let ran = crowd.lab.ctl(&["attach", "eth0"]).succeeded();
    assert!(ran.stderr.contains("flood is master instead of device"), "{}", ran.report());
    let told = status(&crowd.lab);
    assert_eq!(told["host_flood"], "master");
    let degraded = told["degraded"].as_array().or_fail("read what is less");
    assert!(degraded.iter().any(|part| part["feature"] == "flood"), "{told:#}");
    crowd.check(1, 1, "the name is taken");
    crowd.lab.host.ns.ip("link del mvflood2");
    crowd.lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(status(&crowd.lab)["host_flood"], "device");
    crowd.check(1, 0, "the name is free");
}

#[test]
fn run_makes_the_device_anew_and_takes_it_off_at_its_end() {
    needs!(require::lab, require::tc, require::binary);
    let crowd = Crowd::new(&[Mode::Bridge]);
    let run = Following::start(&crowd.lab, &["eth0", "--detach-on-exit"]);
    for what in ["link del", "link set down dev"] {
        wait_for_flood(&crowd.lab, "device");
        let before = index_of_flood(&crowd.lab.host);
        crowd.lab.host.ns.ip(&format!("{what} {}", only_flood_device(&crowd.lab.host)));
        wait_for("another device", || index_of_flood(&crowd.lab.host).filter(|now| Some(*now) != before));
        wait_for_flood(&crowd.lab, "device");
        crowd.check(1, 0, what);
    }
    crowd.children[0].ns.ip("link del c0");
    wait_for_flood(&crowd.lab, "off");
    wait_until_none(&crowd.lab.host);
    let other = crowd.lab.child("other", Mode::Bridge);
    wait_for_flood(&crowd.lab, "device");
    assert!(reach_each_other(&crowd.lab.host, &other));
    assert!(run.end(Signal::SIGTERM).success());
    assert_eq!(flood_devices(&crowd.lab.host), [""; 0]);
}

#[test]
fn commands_on_children_bring_the_device_and_take_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _attached = Attached::new(&lab, &[]);
    let told = |wanted: &str| assert_eq!(status(&lab)["host_flood"], wanted);
    told("off");
    assert_eq!(flood_devices(&lab.host), [""; 0], "a passthru child may come yet");
    lab.ctl(&["child", "add", "eth0", "near"]).succeeded();
    told("device");
    only_flood_device(&lab.host);
    lab.ctl(&["child", "add", "eth0", "alone,mode=private"]).succeeded();
    told("master");
    lab.ctl(&["child", "set", "eth0", "alone,down"]).succeeded();
    told("device");
    lab.ctl(&["child", "del", "eth0", "alone", "near"]).succeeded();
    told("off");
    assert_eq!(flood_devices(&lab.host), [""; 0]);
}

#[test]
fn the_device_is_nobodys_child_and_the_host_says_nothing_through_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().full_ipv6().build();
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    let device = only_flood_device(&lab.host);

    let is_told = |line: &[&str]| {
        let ran = lab.ctl(line).succeeded();
        ran.stdout.contains(&device) || ran.stdout.contains("macvlan-ctl flood")
    };
    for line in [&["status", "eth0"][..], &["stats", "eth0"], &["child", "list", "eth0"], &["-j", "status"]] {
        assert!(!is_told(line), "{line:?} tells of {device}");
    }
    let doctor = lab.ctl(&["doctor", "eth0"]);
    assert!(!doctor.stdout.contains(&device), "{}", doctor.report());
    assert_eq!(names_of(&status(&lab)).into_iter().collect::<Vec<_>>(), ["web"]);

    let flags = link(&lab.host, &device)["flags"].clone();
    let flags: Vec<&str> = flags.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(flags.contains(&"NOARP") && !flags.contains(&"MULTICAST"), "{flags:?}");
    let addresses = lab.host.ns.ip_json(&format!("addr show dev {device}"));
    assert_eq!(addresses[0]["addr_info"], Value::Array(Vec::new()), "{addresses}");

    // Whoever speaks on every device of the host, as LLDP daemons do.
    let mut ears = [Tap::on_device(&web.ns, "web"), Tap::on_device(&lab.wire.ns, &lab.wire.dev)];
    let (through, past) = (Marker::new(), Marker::new());
    Injector::new(&lab.host.ns, &device).send(&marked(Mac::BROADCAST, lab.host.mac, through));
    Injector::new(&lab.host.ns, &device).send(&marked(web.mac, lab.host.mac, through));
    Injector::new(&lab.host.ns, "eth0").send(&marked(Mac::BROADCAST, lab.host.mac, past));
    for ear in &mut ears {
        ear.wait_for(past, 1);
        assert_eq!(ear.came_in(through), 0);
    }
}

/// What follows the MACs of a frame.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// An EtherType.
    Plain,
    /// A length.
    Llc,
    /// A VLAN tag, in the frame: a packet socket's, as no VLAN device is on the master.
    Tagged,
}

impl Shape {
    fn of(self, mut frame: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Plain => {}
            Self::Llc => {
                let len = (frame.len() - ADDRESSES - 2) as u16;
                frame[ADDRESSES..ADDRESSES + 2].copy_from_slice(&len.to_be_bytes());
            }
            Self::Tagged => drop(frame.splice(ADDRESSES..ADDRESSES, TAG)),
        }
        frame
    }
}

/// A lab whose children hear every group, and somebody on the wire who does.
struct Crowd {
    lab: Lab,
    children: Vec<Station>,
}

impl Crowd {
    fn new(modes: &[Mode]) -> Self {
        let lab = Lab::new();
        let made = modes.iter().enumerate().map(|(number, mode)| {
            let child = lab.child(&format!("c{number}"), *mode);
            join(&child);
            child
        });
        let children = made.collect();
        Self { lab, children }
    }

    /// The host sends to each kind of group: the wire hears it once, each child so many times, and so often a
    /// packet socket on the host's own devices.
    #[track_caller]
    fn check(&self, by_child: usize, by_host: usize, when: &str) {
        let Lab { host, wire, .. } = &self.lab;
        let sender = Injector::new(&host.ns, "eth0");
        let mut on_host = Tap::on_device(&host.ns, "eth0");
        let mut on_wire = Tap::on_device(&wire.ns, &wire.dev);
        let mut at_children: Vec<Tap> =
            self.children.iter().map(|child| Tap::on_device(&child.ns, &child.dev)).collect();
        for (group, shape) in [
            (Mac::BROADCAST, Shape::Plain),
            (ALL_HOSTS, Shape::Plain),
            (IS_IS, Shape::Llc),
            (Mac::BROADCAST, Shape::Tagged),
        ] {
            let marker = Marker::new();
            sender.send(&shape.of(marked(group, host.mac, marker)));
            on_wire.wait_for(marker, 1);
            for (tap, child) in at_children.iter_mut().zip(&self.children) {
                tap.wait_for(marker, by_child);
                assert_eq!(tap.came_in(marker), by_child, "{shape:?} to {group} at {}, {when}", child.dev);
            }
            assert_eq!(on_wire.came_in(marker), 1, "{shape:?} to {group} on the wire, {when}");
            assert_eq!(on_host.came_in(marker), by_host, "{shape:?} to {group} at the host itself, {when}");
        }
    }
}

/// Takes every group in.
fn join(child: &Station) {
    child.ns.ip(&format!("link set {} allmulticast on", child.dev));
}

#[track_caller]
fn wait_for_flood(lab: &Lab, wanted: &str) {
    wait_for(format_args!("broadcasts by way of {wanted}"), || {
        (status(lab)["host_flood"] == wanted).then_some(())
    });
}

/// The flood devices in a station's namespace.
fn floods(station: &Station) -> Vec<Value> {
    let links = station.ns.ip_json("link show");
    let is_ours = |link: &&Value| link["ifindex"].as_u64().is_some_and(|index| is_index(index as u32));
    links.as_array().into_iter().flatten().filter(is_ours).cloned().collect()
}

/// Their names.
fn flood_devices(station: &Station) -> Vec<String> {
    floods(station).iter().filter_map(|link| link["ifname"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn wait_until_none(station: &Station) {
    wait_for("the end of the flood device", || flood_devices(station).is_empty().then_some(()));
}

#[track_caller]
fn only_flood_device(station: &Station) -> String {
    let devices = flood_devices(station);
    let [device] = &devices[..] else { panic!("{devices:?}") };
    device.clone()
}

fn index_of_flood(station: &Station) -> Option<u64> {
    floods(station).first()?["ifindex"].as_u64()
}

#[track_caller]
fn link(station: &Station, device: &str) -> Value {
    station.ns.ip_json(&format!("link show dev {device}"))[0].clone()
}
