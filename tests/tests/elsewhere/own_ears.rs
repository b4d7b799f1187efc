//! The host does not hear itself on macvlan devices of its own: no protocol, and no packet socket of one. Those of
//! all protocols come before any program.

use std::{fs, net::Ipv4Addr, path::Path};

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::tc_means,
    cli,
    control::{child, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{EXPERIMENTAL, Frame, Marker, Party, arp_request, datagram, marked},
    lab::{Lab, Station},
    leak::{Traces, pins},
    needs, require,
    sniff::{Injector, Seen, Tap},
    talk::reach_each_other,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Its address, of the host's own.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 250);

const OWN_MAC: Mac = Mac::new([0x02, 0, 0, 0, 7, 1]);

const FRAMES: usize = 20;

/// An EtherType that a daemon listens for.
const LLDP: u16 = 0x88cc;

#[test]
fn what_the_host_sends_to_all_comes_to_no_device_of_its_own() {
    needs!(require::lab, require::tc, require::binary);
    for (means, mode) in tc_means().iter().flat_map(|means| MODES.map(|mode| (*means, mode))) {
        // A child that the flood device reaches, and one because of which copies come back up.
        for (other, way) in [(Mode::Bridge, "device"), (Mode::Vepa, "master")] {
            let own = Own::new(mode, other);
            let before = Traces::of(&own.lab);
            own.check("plain macvlan");
            let when = format!("--tc {means}, {} beside {}", mode.as_str(), other.as_str());
            own.lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", means]).succeeded();
            assert_eq!(status(&own.lab)["host_flood"], way, "{when}");
            own.check(&when);
            let attached = Traces::of(&own.lab);
            own.lab.ctl(&["attach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&own.lab), attached, "nothing is to be changed, {when}");
            own.lab.ctl(&["detach", "eth0"]).succeeded();
            assert_eq!(Traces::of(&own.lab), before, "{when}");
        }
    }
}

#[test]
fn it_is_a_child_and_hears_the_host_where_somebody_asks_for_it() {
    needs!(require::lab, require::tc, require::binary);
    for means in tc_means() {
        let own = Own::new(Mode::Bridge, Mode::Bridge);
        own.lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", means]).succeeded();
        own.lab.ctl(&["child", "set", "eth0", "own,host-access=on"]).succeeded();
        assert_eq!(child(&status(&own.lab), "own")["host_owned"], false);
        assert_eq!(own.heard(&own.lab.host), FRAMES, "{means}");
        let named = Traces::of(&own.lab);
        assert!(named.own.values().all(|hooks| hooks.tcx.is_empty()), "{named:#?}");
    }
}

#[test]
fn a_follower_keeps_up_with_devices_of_the_hosts_own() {
    needs!(require::lab, require::tc, require::binary);
    for means in tc_means() {
        let own = Own::new(Mode::Bridge, Mode::Bridge);
        let host = &own.lab.host.ns;
        host.ip("link set own down");
        let following =
            Following::start(&own.lab, &["eth0", "--require-bpf", "--tc", means, "--detach-on-exit"]);
        let has_no_pin = || (!pins(&own.lab).iter().any(|pin| is_of_own(pin))).then_some(());
        assert_eq!(has_no_pin(), Some(()), "it is down");
        let is_deaf = || Traces::of(&own.lab).own.values().all(|hooks| !hooks.is_free()).then_some(());
        for what in ["link set own up", "link set own name other"] {
            host.ip(what);
            wait_for(what, is_deaf);
            assert_eq!(own.heard(&own.lab.host), 0, "{means}: {what}");
        }
        host.ip("link del other");
        wait_for("its pin to go", has_no_pin);
        make_own(&own.lab, Mode::Private);
        wait_for("another device", is_deaf);
        own.check(means);

        // It becomes a child by its namespace, and hears the host then.
        let away = own.lab.newcomer("own");
        host.ip(&format!("link set own netns {}", away.ns.path().display()));
        away.ns.ip("link set own up");
        wait_for("a child of that name", || {
            (child(&status(&own.lab), "own")["host_owned"] == false).then_some(())
        });
        wait_for("its pin to go", has_no_pin);
        let mut ear = Tap::on_device(&away.ns, "own");
        let marker = Marker::new();
        Injector::new(host, "eth0").send(&marked(Mac::BROADCAST, own.lab.host.mac, marker));
        ear.wait_for(marker, 1);
        assert!(following.end(Signal::SIGTERM).success());
    }
}

#[test]
fn a_qdisc_of_somebody_else_on_such_a_device_stays() {
    needs!(require::lab, require::tc, require::binary);
    let own = Own::new(Mode::Bridge, Mode::Bridge);
    let tc = |line: &[&str]| drop(cli::run(own.lab.host.ns.command("tc").args(line)));
    tc(&["qdisc", "add", "dev", "own", "clsact"]);
    let all = "1,6 0 0 4294967295";
    tc(&["filter", "add", "dev", "own", "ingress", "pref", "7", "bpf", "bytecode", all]);
    let before = Traces::of(&own.lab);
    own.lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", "clsact"]).succeeded();
    own.check("--tc clsact");
    own.lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&own.lab), before);
}

#[test]
fn what_the_device_cannot_have_is_told() {
    needs!(require::lab, require::tc, require::binary);
    let own = Own::new(Mode::Bridge, Mode::Bridge);
    cli::run(own.lab.host.ns.command("tc").args(["qdisc", "add", "dev", "own", "ingress"]));
    let ran = own.lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", "clsact"]).succeeded();
    for part in ["flood is children and host instead of children", "\"own\"", "tc qdisc show dev own"] {
        assert!(ran.stderr.contains(part), "{part:?} is wanted in {}", ran.report());
    }
    let degraded = status(&own.lab)["degraded"].clone();
    let is_told = |part: &Value| part["feature"] == "flood" && part["got"] == "children and host";
    assert!(degraded.as_array().into_iter().flatten().any(is_told), "{degraded:#}");
    assert!(reach_each_other(&own.lab.host, &own.other));
}

/// The modes of such devices: of a shim, and of a virtual router.
const MODES: [Mode; 2] = [Mode::Bridge, Mode::Private];

/// A host with a macvlan of its own, and a child of another.
struct Own {
    lab: Lab,
    other: Station,
}

impl Own {
    fn new(mode: Mode, other: Mode) -> Self {
        let lab = Lab::new();
        make_own(&lab, mode);
        let other = lab.child("other", other);
        Self { lab, other }
    }

    /// The host hears what the wire sends on both devices, what it sends itself on none, and asks for its own
    /// address in vain.
    #[track_caller]
    fn check(&self, when: &str) {
        assert_eq!(self.heard(&self.lab.wire), 2 * FRAMES, "from the wire, {when}");
        assert_eq!(self.heard(&self.lab.host), 0, "of its own, {when}");
        let mut wire = Tap::on_device(&self.lab.wire.ns, &self.lab.wire.dev);
        let (nobody, end) = (Ipv4Addr::UNSPECIFIED, Marker::new());
        let host = self.lab.host.mac;
        let sender = Injector::new(&self.lab.host.ns, "eth0");
        let mut ears = [EXPERIMENTAL, LLDP].map(|kind| Tap::on_protocol(&self.lab.host.ns, "own", kind));
        let probe = Marker::new();
        sender.send(&marked(Mac::BROADCAST, host, probe));
        sender.send(&Frame::new(Mac::BROADCAST, host).payload(LLDP, &probe.octets()).padded(60));
        sender.send(&arp_request(Party { mac: host, address: nobody }, OWN));
        sender.send(&marked(Mac::BROADCAST, host, end));
        wire.wait_for(end, 1);
        self.wait_for_queue();
        let is_from_own = |seen: &&Seen| seen.whole()[6..12] == OWN_MAC.octets();
        for ear in &mut ears {
            assert_eq!(ear.came_in(probe), 0, "a packet socket, {when}");
        }
        let answers = wire.seen().iter().filter(is_from_own).count();
        assert_eq!(answers, 0, "somebody answers the host's probe, {when}");
    }

    /// Waits until the driver has given to everybody what was sent before.
    #[track_caller]
    fn wait_for_queue(&self) {
        let Lab { wire, .. } = &self.lab;
        let mut ear = Tap::on_device(&self.other.ns, &self.other.dev);
        let end = Marker::new();
        Injector::new(&wire.ns, &wire.dev).send(&marked(Mac::BROADCAST, wire.mac, end));
        ear.wait_for(end, 1);
    }

    /// How many of some broadcasts that `from` sends come to the host's IPv4.
    #[track_caller]
    fn heard(&self, from: &Station) -> usize {
        let all = Party { mac: Mac::BROADCAST, address: Ipv4Addr::BROADCAST };
        let frame = datagram(Party { mac: from.mac, address: from.ip }, all).or_fail("build a datagram");
        let before = packets(&self.lab.host);
        let sender = Injector::new(&from.ns, &from.dev);
        sender.send_times(&frame, FRAMES);
        self.wait_for_queue();
        let heard = || packets(&self.lab.host) - before;
        let wanted = if from.mac == self.lab.wire.mac { 2 * FRAMES } else { 0 };
        if wanted > 0 {
            wait_for("what the wire sends", || (heard() >= wanted).then_some(()));
        }
        heard()
    }
}

/// Whether a pin is of a device of the host's own.
fn is_of_own(pin: &Path) -> bool {
    pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with("own_"))
}

#[track_caller]
fn make_own(lab: &Lab, mode: Mode) {
    lab.host.ns.ip_batch([
        format!("link add link eth0 name own address {OWN_MAC} type macvlan mode {}", mode.as_str()),
        format!("addr add {OWN}/32 dev own"),
        "link set own up".into(),
    ]);
}

/// Packets that the IPv4 of a station has got, on whatever device, and whatever became of them.
#[track_caller]
fn packets(at: &Station) -> usize {
    let text = at.ns.enter(|| fs::read_to_string("/proc/thread-self/net/snmp")).or_fail("read counters");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (lines.next().or_fail("find names"), lines.next().or_fail("find values"));
    let counters = names.split(' ').zip(values.split(' '));
    let mut count = counters.filter(|(name, _)| *name == "InReceives");
    count.next().or_fail("find a counter").1.parse().or_fail("read a counter")
}
