//! What tells hosts how to configure themselves: a child's reaches the host only where it may, and all
//! others as with plain macvlan.

use std::process::{Child, Stdio};

use macvlan_common::{cases::LLDP, child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    cli,
    control::{child, named, status},
    fail::{OrFail as _, wait_for},
    frames::{self, Frame, Marker},
    lab::{Lab, Station},
    needs, require,
    servers::{self, ALL_NODES, REDIRECT, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION},
    sniff::{Injector, Tap},
};

/// EtherTypes of LLDP (IEEE 802.1AB-2016, 7.3), EAPOL (802.1X-2010, 11.1.4) and LACP (802.1AX-2014, 6.2.3).
const ETH_LLDP: u16 = 0x88cc;
const ETH_EAPOL: u16 = 0x888e;
const ETH_SLOW: u16 = 0x8809;

/// The groups that these are sent to.
const LINK_LOCAL: [(Mac, u16); 3] = [
    (LLDP, ETH_LLDP),
    (Mac::new([0x01, 0x80, 0xc2, 0, 0, 3]), ETH_EAPOL),
    (Mac::new([0x01, 0x80, 0xc2, 0, 0, 2]), ETH_SLOW),
];

/// Router advertisements, redirects and what DHCP servers send: eight frames.
fn control(from: &Station, to: Mac, marker: Marker) -> Vec<Vec<u8>> {
    let mut frames = servers::messages(from, to, ROUTER_ADVERTISEMENT, marker);
    frames.extend(servers::messages(from, to, REDIRECT, marker));
    frames.extend(servers::datagrams(from, to, [(67, 68), (547, 546)], marker));
    frames.extend(servers::datagrams(from, to, [(67, 67), (547, 9)], marker));
    frames
}

/// What clients send, and what is no configuration at all.
fn ordinary(from: &Station, to: Mac, marker: Marker) -> Vec<Vec<u8>> {
    let mut frames = servers::messages(from, to, ROUTER_SOLICITATION, marker);
    frames.extend(servers::datagrams(from, to, [(68, 67), (546, 547)], marker));
    frames.extend(servers::datagrams(from, to, [(5353, 5353), (9, 9)], marker));
    frames.push(frames::marked(to, from.mac, marker));
    frames
}

fn link_local(from: &Station, marker: Marker) -> Vec<Vec<u8>> {
    let frame = |(group, kind)| Frame::new(group, from.mac).payload(kind, &marker.octets()).padded(60);
    LINK_LOCAL.map(frame).into()
}

/// Sends these frames, and gives how many of them protocols of each receiver may take.
#[track_caller]
fn receive<const N: usize>(
    from: &Station,
    receivers: [&Station; N],
    frames: &[Vec<u8>],
    marker: Marker,
) -> [usize; N] {
    // Behind TC: what is left to the children alone is no protocol's there.
    let kinds = [frames::EXPERIMENTAL, frames::IPV4, frames::IPV6, ETH_LLDP, ETH_EAPOL, ETH_SLOW];
    let mut taps = receivers.map(|to| kinds.map(|kind| Tap::on_protocol(&to.ns, &to.dev, kind)));
    let injector = Injector::new(&from.ns, &from.dev);
    frames.iter().for_each(|frame| injector.send(frame));
    // Who gets the last frame has had all before.
    let fences = receivers.map(|to| (to.mac, Marker::new()));
    fences.iter().for_each(|(mac, fence)| injector.send(&frames::marked(*mac, from.mac, *fence)));
    for (tap, (_, fence)) in taps.iter_mut().zip(fences) {
        tap[0].wait_for(fence, 1);
    }
    taps.each_mut().map(|taps| taps.iter_mut().map(|tap| tap.received(marker)).sum())
}

#[test]
fn control_frames_of_children_reach_the_host_only_where_they_may() {
    needs!(require::lab, require::binary);
    let ways = [&[][..], &["--xdp", "native"], &["--xdp", "generic"], &["--tc", "clsact"]];
    for (args, mode) in ways.into_iter().zip([Mode::Bridge, Mode::Private, Mode::Bridge, Mode::Vepa]) {
        let lab = Lab::with().ipv6().build();
        let (web, db) = (lab.child("web", mode), lab.child("db", Mode::Bridge));
        let _attached = Attached::new(&lab, args);
        if mode == Mode::Vepa {
            lab.ctl(&["child", "set", "eth0", "web,vepa-reflect=local"]).succeeded();
        }
        let sent = |to: Mac, make: fn(&Station, Mac, Marker) -> Vec<Vec<u8>>| {
            let marker = Marker::new();
            let frames = make(&web, to, marker);
            (frames.len(), receive(&web, [&lab.host, &lab.wire], &frames, marker))
        };
        let case = format!("{args:?}, {mode:?}");
        for may in [false, true] {
            if may {
                lab.ctl(&["child", "set", "eth0", "web,host-control=on"]).succeeded();
            }
            assert_eq!(child(&status(&lab), "web")["host_control"], may, "{case}");
            let heard = |count| if may { count } else { 0 };
            for group in [ALL_NODES, Mac::BROADCAST] {
                let (count, came) = sent(group, control);
                assert_eq!(came, [heard(count), count], "{case}, may {may}: {group}");
                let (count, came) = sent(group, ordinary);
                assert_eq!(came, [count, count], "{case}, may {may}: {group}");
            }
            // With plain macvlan it goes to the wire, where it is for nobody.
            let (count, came) = sent(lab.host.mac, control);
            assert_eq!(came, [heard(count), 0], "{case}, may {may}: unicast");
            let (count, came) = sent(lab.host.mac, ordinary);
            assert_eq!(came, [count, 0], "{case}, may {may}: unicast");
            let marker = Marker::new();
            let groups = link_local(&web, marker);
            let came = receive(&web, [&lab.host, &lab.wire], &groups, marker);
            assert_eq!(came, [heard(groups.len()), groups.len()], "{case}, may {may}: link-local groups");
        }
        // Siblings hear what they heard before.
        if mode == Mode::Bridge {
            let marker = Marker::new();
            let frames = control(&web, Mac::BROADCAST, marker);
            assert_eq!(receive(&web, [&db], &frames, marker), [frames.len()], "{case}");
        }
    }
}

/// As `lldpd` does, that lists its own host as its neighbour otherwise.
#[test]
fn the_hosts_own_link_local_groups_are_for_the_wire() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    web.ns.ip("link set web allmulticast on");
    for args in [&[][..], &["--xdp", "native"]] {
        let attached = Attached::new(&lab, args);
        let marker = Marker::new();
        let mut taps = [&lab.host, &web, &lab.wire].map(|to| Tap::on_device(&to.ns, &to.dev));
        let injector = Injector::new(&lab.host.ns, &lab.host.dev);
        link_local(&lab.host, marker).iter().for_each(|frame| injector.send(frame));
        let fence = Marker::new();
        injector.send(&frames::marked(Mac::BROADCAST, lab.host.mac, fence));
        taps[1].wait_for(fence, 1);
        taps[2].wait_for(fence, 1);
        assert_eq!(taps.each_mut().map(|tap| tap.came_in(marker)), [0, 0, LINK_LOCAL.len()], "{args:?}");
        attached.detach(&[]).succeeded();
    }
}

/// A real router and DHCP server in a container, and a host that believes what it hears.
#[test]
fn a_server_in_a_container_does_not_configure_the_host_unasked() {
    needs!(require::lab, require::binary, programs);
    let lab = Lab::with().full_ipv6().build();
    let dns = lab.child("dns", Mode::Bridge);
    for station in [&lab.host, &lab.wire] {
        station.ns.sysctl(&format!("ipv6/conf/{}/accept_ra", station.dev), 2);
    }
    dns.ns.ip("addr add fd77::1/64 dev dns nodad");
    let _attached = Attached::new(&lab, &[]);
    let routes = |at: &Station| at.ns.ip_json("-6 route show default").as_array().or_fail("read").len();
    let _server = Daemon::dnsmasq(&lab, &dns);
    wait_for("the wire to believe the router", || (routes(&lab.wire) == 1).then_some(()));
    assert_eq!(routes(&lab.host), 0, "the host takes its default route from a container");
    assert!(!asks_for_an_address(&lab.host), "the host takes its address from a container");

    lab.ctl(&["child", "set", "eth0", &named(&dns, "host-control=on")]).succeeded();
    assert!(asks_for_an_address(&lab.host));
    // The next one may be minutes away: the host asks.
    lab.host.ns.ip(&format!("link set {} down", lab.host.dev));
    lab.host.ns.ip(&format!("link set {} up", lab.host.dev));
    wait_for("the host to believe the router", || (routes(&lab.host) == 1).then_some(()));
}

fn programs() -> Result<(), String> {
    require::program("dnsmasq")?;
    require::program("busybox")
}

/// Whether a DHCP client gets an answer.
#[track_caller]
fn asks_for_an_address(station: &Station) -> bool {
    let mut ask = station.ns.command("busybox");
    ask.args(["udhcpc", "-i", &station.dev, "-f", "-n", "-q", "-t", "3", "-T", "1", "-s", "/bin/true"]);
    cli::output(&mut ask).status.success()
}

/// A process that is killed when the test ends.
struct Daemon(Child);

impl Daemon {
    /// A router and DHCP server.
    #[track_caller]
    fn dnsmasq(lab: &Lab, at: &Station) -> Self {
        let mut command = lab.command(&at.ns, "dnsmasq");
        command.args(["--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root"]);
        command.args(["--dhcp-range=10.9.0.100,10.9.0.120,5m", "--bind-interfaces", "--no-ping"]);
        command.args(["--enable-ra", "--dhcp-range=fd77::,ra-only", "--dhcp-leasefile=/run/leases"]);
        command.args(["--pid-file=", &format!("--interface={}", at.dev)]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().or_fail("start a daemon"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
