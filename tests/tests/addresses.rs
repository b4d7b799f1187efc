//! An address that lives elsewhere too, or moves: whoever plain macvlan reaches, `attach` and `run` reach.

use std::net::IpAddr;

use macvlan_common::{child::Mode, mac::Mac};
use macvlan_tests::{
    attached::Attached,
    cli,
    fail::wait_for,
    following::Following,
    frames::{self, ArpOperation, Marker},
    lab::{Lab, Station},
    needs, require,
    sniff::Injector,
    talk::ping,
};

/// An address that is somebody's besides his own.
const EXTRA: [u8; 4] = [10, 9, 0, 99];

/// What carries the children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Plain,
    Attach,
    Run,
}

/// The data path, until this is dropped.
enum Carried<'lab> {
    Plain,
    Attach { _attached: Attached<'lab> },
    Run { _following: Following<'lab> },
}

impl Means {
    const ALL: [Self; 3] = [Self::Plain, Self::Attach, Self::Run];

    /// Those that plain macvlan has nothing to do with.
    const OURS: [Self; 2] = [Self::Attach, Self::Run];

    #[track_caller]
    fn start(self, lab: &Lab) -> Carried<'_> {
        match self {
            Self::Plain => Carried::Plain,
            Self::Attach => Carried::Attach { _attached: Attached::new(lab, &[]) },
            Self::Run => Carried::Run { _following: Following::start(lab, &[&lab.host.dev]) },
        }
    }
}

fn extra() -> IpAddr {
    EXTRA.into()
}

/// How many of three echo requests are answered, by somebody whose MAC is not known before.
#[track_caller]
fn answers(from: &Station, to: IpAddr) -> String {
    from.ns.ip("neigh flush all");
    let mut command = from.ns.command("ping");
    let ran = cli::output(command.args(["-q", "-c3", "-i.2", "-W1", &to.to_string()]));
    let counts = ran.stdout.lines().find(|line| line.contains(" received")).unwrap_or_default();
    counts.split(", ").find(|part| part.ends_with(" received")).unwrap_or_default().to_owned()
}

#[track_caller]
fn reaches(from: &Station, to: IpAddr, what: impl std::fmt::Debug) {
    assert_eq!(answers(from, to), "3 received", "{what:?}: {} to {to}", from.dev);
}

/// Gives it another address.
#[track_caller]
fn add(station: &Station, address: IpAddr) {
    let (prefix, options) = if address.is_ipv6() { (64, "nodad") } else { (24, "") };
    station.ns.ip(&format!("addr add {address}/{prefix} dev {} {options}", station.dev));
}

#[track_caller]
fn remove(station: &Station, address: IpAddr) {
    station.ns.ip(&format!("addr del {address}/24 dev {}", station.dev));
}

/// Gratuitous ARP, as `arping -U` sends it.
fn announce(station: &Station) {
    claim(station, EXTRA, EXTRA);
}

/// An ARP request to all, with this sender address.
fn claim(station: &Station, sender: [u8; 4], target: [u8; 4]) {
    let sender = (station.mac, sender.into());
    let nobody = (Mac::new([0; 6]), target.into());
    let frame = frames::arp(Mac::BROADCAST, ArpOperation::Request, sender, nobody, Marker::new());
    Injector::new(&station.ns, &station.dev).send(&frame);
}

/// Wire, host and two containers.
fn lab_with_two() -> (Lab, Station, Station) {
    let lab = Lab::new();
    let (c, d) = (lab.child("c1", Mode::Bridge), lab.child("d1", Mode::Bridge));
    (lab, c, d)
}

#[test]
fn an_address_that_moves_between_containers_is_found_at_once() {
    needs!(require::lab, require::binary, require::ping_command);
    for means in Means::ALL {
        let (lab, c, d) = lab_with_two();
        add(&c, extra());
        let _carried = means.start(&lab);
        reaches(&lab.wire, extra(), means);
        remove(&c, extra());
        add(&d, extra());
        announce(&d);
        reaches(&lab.wire, extra(), means);
        if means != Means::Plain {
            reaches(&lab.host, extra(), means);
        }
    }
}

#[test]
fn an_address_that_moves_to_the_wire_is_found_at_once() {
    needs!(require::lab, require::binary, require::ping_command);
    for means in Means::ALL {
        let (lab, c, d) = lab_with_two();
        add(&c, extra());
        let _carried = means.start(&lab);
        remove(&c, extra());
        add(&lab.wire, extra());
        for from in [&lab.host, &c, &d] {
            reaches(from, extra(), means);
        }
    }
}

#[test]
fn an_address_that_moves_from_the_host_to_a_container_is_found_at_once() {
    needs!(require::lab, require::binary, require::ping_command);
    for means in Means::ALL {
        let (lab, c, d) = lab_with_two();
        add(&lab.host, extra());
        let _carried = means.start(&lab);
        reaches(&lab.wire, extra(), means);
        remove(&lab.host, extra());
        add(&c, extra());
        announce(&c);
        for from in [&lab.wire, &d] {
            reaches(from, extra(), means);
        }
        if means != Means::Plain {
            reaches(&lab.host, extra(), means);
        }
    }
}

/// Whoever asks in vain asks again, and then all hear of it.
#[test]
fn an_address_that_moves_unannounced_is_found_all_the_same() {
    needs!(require::lab, require::binary, require::ping_command);
    let (lab, c, d) = lab_with_two();
    add(&c, extra());
    let _attached = Attached::new(&lab, &[]);
    remove(&c, extra());
    add(&d, extra());
    assert!(ping(&lab.wire, extra()), "from a container to another");
    add(&lab.host, extra());
    remove(&d, extra());
    lab.wire.ns.ip("neigh flush all");
    assert!(ping(&lab.wire, extra()), "from a container to the host");
}

#[test]
fn the_hosts_gateway_is_on_the_wire_whoever_claims_its_address_here() {
    needs!(require::lab, require::binary, require::ping_command);
    for means in Means::ALL {
        let (lab, c, _d) = lab_with_two();
        let gateway: IpAddr = lab.wire.ip.into();
        lab.host.ns.ip(&format!("route add default via {gateway}"));
        add(&c, gateway);
        let _carried = means.start(&lab);
        let learnt = || {
            let entries = lab.host.ns.ip_json(&format!("neigh show {gateway}"));
            entries[0]["lladdr"].as_str().map(str::to_owned)
        };
        for _ in 0..5 {
            reaches(&lab.host, gateway, means);
            assert_eq!(learnt(), Some(lab.wire.mac.to_string()), "{means:?}");
        }
        // What it tells everybody, and asks the host for, changes nothing either.
        let own = lab.wire.ip.octets();
        for target in [own, lab.host.ip.octets()] {
            lab.host.ns.ip("neigh flush all");
            claim(&c, own, target);
            reaches(&lab.host, gateway, means);
            assert_eq!(learnt(), Some(lab.wire.mac.to_string()), "{means:?} {target:?}");
        }
    }
}

#[test]
fn the_second_device_of_a_namespace_is_reached_where_paths_are_strict() {
    needs!(require::lab, require::binary, require::ping_command);
    for (means, filters_arp) in Means::ALL.into_iter().flat_map(|means| [(means, 0), (means, 1)]) {
        let (lab, c, _d) = lab_with_two();
        for ns in [&lab.host.ns, &c.ns] {
            ns.sysctl("ipv4/conf/all/rp_filter", 1);
            ns.sysctl("ipv4/conf/all/arp_filter", filters_arp);
        }
        let dev = &lab.host.dev;
        lab.host.ns.ip_batch([
            format!("link add shim link {dev} type macvlan mode bridge"),
            "addr add 10.9.0.250/32 dev shim".into(),
            "link set shim up".into(),
            format!("link add second link {dev} type macvlan mode bridge"),
            format!("link set second netns {}", c.ns.path().display()),
        ]);
        c.ns.ip_batch(["addr add 10.9.0.251/24 dev second".into(), "link set second up".into()]);
        let _carried = means.start(&lab);
        for last in [250, 251] {
            reaches(&lab.wire, [10, 9, 0, last].into(), (means, filters_arp));
        }
    }
}

/// Beside a device of its own on its master, which would answer.
#[test]
fn the_host_finds_its_own_address_free() {
    needs!(require::lab, require::binary, require::arping);
    for means in Means::ALL {
        let (lab, _c, _d) = lab_with_two();
        let dev = &lab.host.dev;
        lab.host.ns.ip_batch([
            format!("link add shim link {dev} type macvlan mode bridge"),
            "addr add 10.9.0.250/32 dev shim".into(),
            "link set shim up".into(),
        ]);
        let _carried = means.start(&lab);
        for address in [lab.host.ip.to_string(), "10.9.0.250".into()] {
            let mut command = lab.host.ns.command("arping");
            cli::run(command.args(["-q", "-D", "-c2", "-w2", "-I", dev, &address]));
        }
    }
}

#[test]
fn a_virtual_address_that_a_container_does_not_answer_for_is_reached_on_the_wire() {
    needs!(require::lab, require::binary, require::ping_command);
    let silence: [fn(&Lab, &Station); 3] = [
        |_, c| c.ns.sysctl(&format!("ipv4/conf/{}/arp_ignore", c.dev), 8),
        |_, c| drop(c.ns.ip(&format!("link set {} protodown on", c.dev))),
        |_, c| drop(c.ns.ip(&format!("link set {} down", c.dev))),
    ];
    for (number, silence) in silence.into_iter().enumerate() {
        for means in Means::ALL {
            let (lab, c, d) = lab_with_two();
            add(&c, extra());
            silence(&lab, &c);
            add(&lab.wire, extra());
            let _carried = means.start(&lab);
            for from in [&lab.host, &d] {
                reaches(from, extra(), (means, number));
            }
        }
    }
}

#[test]
fn an_address_found_to_be_somebody_elses_is_reached_there() {
    needs!(require::lab, require::binary, require::ping_command);
    let doubled: IpAddr = "fd09::99".parse().expect("an address");
    for means in Means::ALL {
        let lab = Lab::with().ipv6().build();
        let (c, d) = (lab.child("c1", Mode::Bridge), lab.child("d1", Mode::Bridge));
        add(&lab.wire, doubled);
        for (name, value) in [("accept_dad", 1), ("dad_transmits", 1)] {
            c.ns.sysctl(&format!("ipv6/conf/{}/{name}", c.dev), value);
        }
        c.ns.ip(&format!("addr add {doubled}/64 dev {}", c.dev));
        wait_for("the duplicate to be found", || c.ns.ip("addr show").contains("dadfailed").then_some(()));
        let _carried = means.start(&lab);
        for from in [&lab.host, &d] {
            reaches(from, doubled, means);
        }
    }
}

/// An IPv6 owner answers by unicast: it is heard of all the same, and requests stay its own.
#[test]
fn an_ipv6_address_that_moves_is_found_with_its_first_probe() {
    needs!(require::lab, require::binary, require::ping_command);
    let moved: IpAddr = "fd09::99".parse().expect("an address");
    for means in Means::OURS {
        let lab = Lab::with().ipv6().build();
        let (c, d) = (lab.child("c1", Mode::Bridge), lab.child("d1", Mode::Bridge));
        add(&c, moved);
        let _carried = means.start(&lab);
        reaches(&lab.wire, moved, means);
        c.ns.ip(&format!("addr del {moved}/64 dev {}", c.dev));
        d.ns.sysctl(&format!("ipv6/conf/{}/accept_dad", d.dev), 1);
        d.ns.sysctl(&format!("ipv6/conf/{}/dad_transmits", d.dev), 1);
        d.ns.ip(&format!("addr add {moved}/64 dev {}", d.dev));
        wait_for("the address to be tested", || (!d.ns.ip("addr show").contains("tentative")).then_some(()));
        for from in [&lab.wire, &lab.host] {
            reaches(from, moved, means);
        }
    }
}
