//! `isolation=strict` where no program can be on the macvlan driver: the socket of a frame tells whether it is the host's.

use std::os::unix::process::ExitStatusExt as _;

use macvlan_common::{
    child::Mode,
    counters::{Count, DropReason},
    mac::Mac,
};
use macvlan_tests::{
    attached::{Attached, tc_means},
    cli,
    control::status,
    crowd::{Crowd, LEN, TIMES},
    fail::OrFail as _,
    frames::{Frame, IPV4, Marker, ipv4, marked, udp},
    lab::{Lab, Station},
    leak::{Traces, pins},
    needs,
    netns::Netns,
    require,
    sniff::{Injector, Tap, XdpSender},
    talk::{ping, reach_each_other},
    tap::TapFile,
    tracer::Tracer,
};
use serde_json::Value;

const ON: [&str; 4] = ["attach", "eth0", "--isolation", "strict"];
const OFF: [&str; 4] = ["attach", "eth0", "--isolation", "off"];

/// A lab whose kernel takes no program on the driver.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.mounts().hide("/sys/kernel/btf");
    lab
}

/// Whether it is said that sockets tell.
fn is_by_socket(status: &Value) -> bool {
    let degraded = status["degraded"].as_array().or_fail("list what is less");
    degraded.iter().any(|less| less["feature"] == "isolation" && less["got"] == "by socket")
}

#[test]
fn no_packet_socket_of_a_container_sends_as_the_host() {
    needs!(require::lab, require::binary, require::telling_sockets);
    for tc in tc_means() {
        let lab = lab();
        let mut crowd = Crowd::new(&lab);
        let attached = Attached::new(&lab, &["--tc", tc]);
        assert!(crowd.forge("p1", "p2", TIMES).contains(&"p2"), "it shows nothing");

        let on = lab.ctl(&[&ON[..], &["--storm-limit", "100"]].concat()).succeeded();
        assert!(on.stderr.contains("isolation is by socket instead of strict"), "{}", on.report());
        let shown = attached.status();
        assert!(shown["isolation"] == "strict" && is_by_socket(&shown), "{shown:#}");
        assert!(pins(&lab).iter().all(|pin| !pin.to_string_lossy().contains("sending_")));
        for (from, to, times) in [
            ("p1", "wire", TIMES),
            ("p1", "p2", TIMES),
            ("p1", "host", TIMES),
            ("p1", "v2", TIMES),
            ("p1", "broadcast", 2000),
            ("v1", "broadcast", TIMES),
            ("b1", "p2", TIMES),
        ] {
            let before = attached.stats();
            let came = crowd.forge(from, to, times);
            assert!(came.is_empty(), "{tc}: {from} to {to}: {came:?}");
            let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
            let all = Count { packets: times as u64, bytes: (times * LEN) as u64 };
            assert_eq!(dropped, all, "{tc}: {from} to {to}");
        }
        lab.ctl(&["attach", "eth0", "--storm-limit", "off"]).succeeded();
        // By AF_XDP.
        let (child, marker) = (crowd.child("p1"), Marker::new());
        let sender = XdpSender::new(&child.ns, &child.dev);
        sender.send(&marked(crowd.mac("p2"), crowd.mac("host"), marker));
        assert!(crowd.arrivals_of(marker, 1, &[]).is_empty());
        // Through the traced twins.
        let trace = Tracer::start(&lab, &[]);
        assert!(crowd.forge("p1", "p2", TIMES).is_empty());
        trace.stop();
        assert!(crowd.forge("p1", "p2", TIMES).is_empty());

        crowd.expect("host", "p2", &["p2"]);
        crowd.expect("host", "broadcast", &["b1", "b2", "p1", "p2", "v1", "v2", "wire"]);
        crowd.expect("p1", "broadcast", &["host", "wire"]);
        lab.ctl(&OFF).succeeded();
        let shown = attached.status();
        assert!(shown["isolation"] == "off" && !is_by_socket(&shown), "{shown:#}");
        assert!(crowd.forge("p1", "p2", TIMES).contains(&"p2"));
    }
}

/// A VXLAN device in a container, on top of the host's stack, and its peer on the wire. The frames bear the host's MAC, and
/// the container's sockets.
struct Overlay {
    inner: Station,
    outer: Station,
}

impl Overlay {
    fn new(lab: &Lab) -> Self {
        let end = |station: &Station, peer: &Station, last: u8| {
            let ns = Netns::new();
            let (dev, ip) = (format!("vx{last}"), format!("10.8.0.{last}"));
            station.ns.ip(&format!(
                "link add {dev} type vxlan id 7 dstport 4789 local {} remote {} dev {}",
                station.ip, peer.ip, station.dev
            ));
            station.ns.ip(&format!("link set {dev} netns {}", ns.path().display()));
            ns.ip(&format!("addr add {ip}/24 dev {dev}"));
            ns.ip(&format!("link set {dev} up"));
            let shown = ns.ip_json(&format!("link show dev {dev}"));
            let mac = shown[0]["address"].as_str().or_fail("read a MAC").parse().or_fail("read a MAC");
            Station { ns, dev, mac, ip: ip.parse().or_fail("read an address"), ip6: station.ip6 }
        };
        Self { inner: end(&lab.host, &lab.wire, 1), outer: end(&lab.wire, &lab.host, 2) }
    }
}

#[test]
fn who_leaves_the_macs_to_the_kernel_is_no_forger() {
    needs!(require::lab, require::binary, require::ping_command, require::telling_sockets, require::vxlan);
    let lab = lab();
    let children = [lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge)];
    let attached = Attached::new(&lab, &ON[2..]);
    assert!(is_by_socket(&attached.status()));
    let before = attached.stats();
    // ARP by the kernel, its copies through the flood device, and what the host forwards.
    for child in &children {
        assert!(ping(&lab.host, child.ip.into()) && ping(child, lab.host.ip.into()));
        assert!(ping(&lab.wire, child.ip.into()));
    }
    lab.host.ns.sysctl("ipv4/ip_forward", 1);
    lab.host.ns.ip("addr add 10.7.0.1/24 dev eth0");
    children[0].ns.ip(&format!("route add 10.7.0.0/24 via {}", lab.host.ip));
    lab.wire.ns.ip("addr add 10.7.0.2/24 dev wire0");
    lab.wire.ns.ip(&format!("route add {}/32 via 10.7.0.1", children[0].ip));
    assert!(ping(&children[0], std::net::Ipv4Addr::new(10, 7, 0, 2).into()), "forwarded");

    let overlay = Overlay::new(&lab);
    assert!(reach_each_other(&overlay.inner, &overlay.outer));
    let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
    assert_eq!(dropped, Count::default());

    // What it costs: a packet socket there, as a DHCP client has, is taken for a forger.
    let (marker, mut tap) = (Marker::new(), Tap::on_device(&lab.wire.ns, &lab.port));
    Injector::new(&overlay.inner.ns, &overlay.inner.dev).send(&marked(
        Mac::BROADCAST,
        overlay.inner.mac,
        marker,
    ));
    let dropped = (&attached.stats() - &before).master_dropped(DropReason::Spoofed);
    assert_eq!((dropped.packets, tap.came_in(marker)), (1, 0));
}

/// What is not seen, as `status` says.
#[test]
fn what_has_no_packet_socket_any_more_passes_where_no_other_guard_holds_it() {
    needs!(require::lab, require::tcx, require::binary, require::telling_sockets);
    let lab = lab();
    let mut crowd = Crowd::of(&lab, &[("b1", Mode::Bridge), ("v1", Mode::Vepa)]);
    let guest = lab.macvtap("guest", Mode::Bridge);
    let attached = Attached::new(&lab, &ON[2..]);
    lab.ctl(&["child", "set", "eth0", "v1,isolation=strict"]).succeeded();
    let mut tap = Tap::on_device(&lab.wire.ns, &lab.port);
    // One datagram, of which the kernel leaves the socket to the last part alone.
    let mut cut = |from: &str, is_past_tc: bool| {
        let (child, marker) = (crowd.child(from), Marker::new());
        let payload = marker.octets().repeat(400);
        let packet = ipv4(child.ip, lab.wire.ip, 17, &udp(9, 9, &payload));
        let frame = Frame::new(lab.wire.mac, lab.host.mac).payload(IPV4, &packet).build();
        let injector = Injector::new(&child.ns, &child.dev);
        let injector = if is_past_tc { injector.past_tc() } else { injector };
        injector.send_cut(&frame, 800);
        crowd.settle();
        tap.came_in(marker)
    };
    assert_eq!(cut("b1", false), 4, "of five");
    // Past TC the kernel cuts nothing; and a child that is held does not get that far.
    assert_eq!((cut("b1", true), cut("v1", false), cut("v1", true)), (0, 0, 0));

    let marker = Marker::new();
    TapFile::open(&lab, &guest).send(&marked(lab.wire.mac, lab.host.mac, marker));
    crowd.settle();
    assert_eq!(tap.came_in(marker), 1, "a virtual machine");
    let told = attached.status()["degraded"].to_string();
    for words in ["what the kernel cuts up for a child that is not held to its MAC", "macvtaps"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// A command that is killed, or that fails, at each of its steps: what `status` says holds.
#[test]
fn after_every_step_isolation_is_what_is_said() {
    needs!(require::lab, require::binary, require::crash_points, require::telling_sockets);
    let lab = lab();
    let mut crowd = Crowd::of(&lab, &[("p1", Mode::Private), ("p2", Mode::Private)]);
    let traces = Traces::of(&lab);
    for (before, after) in [(OFF, ON), (ON, OFF)] {
        for variable in ["MACVLAN_CTL_CRASH_AT", "MACVLAN_CTL_FAIL_AT"] {
            for number in 1.. {
                lab.ctl(&before).succeeded();
                let ran = cli::output(lab.ctl_command(&after).env(variable, number.to_string()));
                let when = format!("{variable} {number}: {}", ran.report());
                if ran.status.success() && !ran.stderr.contains("fail point ") {
                    assert!(number > 1, "it has no steps: {when}");
                    break;
                }
                let is_killed = ran.status.signal() == Some(libc::SIGKILL);
                assert_eq!(is_killed, variable.contains("CRASH"), "{when}");
                let is_strict = status(&lab)["isolation"] == "strict";
                assert!(is_killed || ran.status.success() || is_strict == (before == ON), "{when}");
                assert_eq!(crowd.forge("p1", "p2", 1).is_empty(), is_strict, "{when}");
                lab.ctl(&after).succeeded();
                assert_eq!(crowd.forge("p1", "p2", 1).is_empty(), after == ON, "{when}");
            }
        }
    }
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), traces);
}
