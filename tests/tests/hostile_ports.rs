//! What a container may claim with a port, and what comes of it: see docs/security.md.

use macvlan_common::{
    child::Mode,
    mac::Mac,
    port::{Half, index_of},
};
use macvlan_tests::{
    attached::Attached,
    attacker::{claim_line, readdress},
    control::{child, members, named, spec, status},
    frames::{Marker, marked},
    lab::{Lab, Station},
    needs, require,
    sniff::{Injector, Tap, XdpSender},
    talk::{is_silent, ping, reach_each_other},
};

#[track_caller]
fn port(lab: &Lab, settings: &str) -> Station {
    let fast = lab.newcomer("fast");
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    lab.ctl(&["child", "add", "eth0", &spec(&fast, &format!("kind=port{settings}"))]).succeeded();
    fast.wait_until_up();
    fast
}

/// A way to send a frame.
type Send<'a> = &'a dyn Fn(&[u8]);

/// The guard is on the macvlan, which no socket of the container goes past.
#[test]
fn a_held_port_passes_for_nobody_by_whatever_socket() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, ",anti-spoof=mac");
    let attached = Attached::new(&lab, &[]);
    let mut taps = [(&lab.wire, lab.port.as_str()), (&web, "web"), (&lab.host, "eth0")]
        .map(|(station, device)| Tap::on_device(&station.ns, device));
    let before = attached.stats();
    let (forged, honest) = (Marker::new(), Marker::new());
    let invented = Mac::new([0x02, 0, 0, 0, 7, 7]);
    let xdp = XdpSender::new(&fast.ns, "fast");
    let send: [Send<'_>; 3] = [
        &|frame| Injector::new(&fast.ns, "fast").send(frame),
        &|frame| Injector::new(&fast.ns, "fast").past_tc().send(frame),
        &|frame| xdp.send(frame),
    ];
    for send in send {
        for source in [lab.host.mac, web.mac, lab.wire.mac, invented] {
            for target in [lab.wire.mac, web.mac, lab.host.mac, Mac::BROADCAST] {
                send(&marked(target, source, forged));
            }
        }
        send(&marked(Mac::BROADCAST, fast.mac, honest));
    }
    for tap in &mut taps {
        tap.wait_for(honest, 3);
        assert_eq!(tap.marked(forged).len(), 0);
    }
    let gained = (&attached.stats() - &before).all();
    let spoofed = gained.iter().find(|(_, what, reason, _)| (*what, *reason) == ("drops", "spoofed"));
    assert_eq!(spoofed.map(|(name, _, _, count)| (name.as_str(), count.packets)), Some(("fast", 3 * 4 * 4)));
}

#[test]
fn what_the_end_of_a_port_says_of_itself_changes_nothing() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, ",mode=private,host-access=off,ra=off");
    let told = || {
        let status = status(&lab);
        let fast = child(&status, "fast");
        ["address", "mode", "kind", "host_access", "ra", "owned"].map(|key| fast[key].clone())
    };
    let before = told();
    for line in [
        "link set fast alias macvlan-ctl",
        "link set fast group 1836477539",
        "link set fast mtu 1400",
        "link set fast down",
        "link set fast up",
    ] {
        claim_line(&fast, line);
        assert_eq!(told(), before, "{line}");
    }
    readdress(&fast, web.mac);
    assert_eq!(told(), before, "with the MAC of a sibling");
    readdress(&fast, fast.mac);
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(told(), before);
    assert!(ping(&lab.wire, fast.ip.into()));
    assert!(is_silent(&fast, lab.host.ip.into()) && is_silent(&fast, web.ip.into()));
}

/// Indexes count where the master is; a container chooses its own in its namespace.
#[test]
fn a_device_with_the_index_of_a_port_is_none_in_another_namespace() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let fast = port(&lab, "");
    let number = 77;
    let (macvlan, end) = (index_of(number, Half::Macvlan), index_of(number, Half::HostEnd));
    claim_line(&web, &format!("link add name x0 index {end} type veth peer name x1"));
    claim_line(&web, &format!("link add link web name y0 index {macvlan} up type macvlan mode bridge"));
    lab.ctl(&["attach", "eth0"]).succeeded();
    let told = status(&lab);
    assert_eq!(child(&told, "y0")["kind"], "macvlan", "{told:#}");
    assert_eq!((members(&lab).len(), child(&told, "fast")["kind"].as_str()), (3, Some("port")));
    lab.ctl(&["child", "set", "eth0", &named(&web, "ra=off")]).succeeded();
    assert_eq!(web.ns.ip_json("link show").as_array().map(Vec::len), Some(5), "nothing of theirs is deleted");
    assert!(reach_each_other(&lab.host, &fast));
}

#[test]
fn a_port_of_a_strict_master_does_not_send_as_the_host() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let fast = port(&lab, "");
    lab.ctl(&["attach", "eth0", "--isolation", "strict"]).succeeded();
    assert_eq!(status(&lab)["isolation"], "strict");
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    let (forged, honest) = (Marker::new(), Marker::new());
    for target in [lab.wire.mac, Mac::BROADCAST] {
        Injector::new(&fast.ns, "fast").send(&marked(target, lab.host.mac, forged));
        Injector::new(&lab.host.ns, "eth0").send(&marked(target, lab.host.mac, honest));
    }
    wire.wait_for(honest, 2);
    assert_eq!(wire.marked(forged).len(), 0);
    assert!(reach_each_other(&lab.host, &fast) && reach_each_other(&lab.wire, &fast));
}
