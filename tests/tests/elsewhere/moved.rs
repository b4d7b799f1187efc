//! A machine that has moved to another host, with its MAC and its address.

use macvlan_common::{child::Mode, counters::DropReason};
use macvlan_tests::{
    attached::Attached,
    control::{child, named, status},
    exporter::Exporter,
    fail::wait_for,
    lab::Lab,
    needs, require,
    sniff::Injector,
    talk::{is_silent, ping},
};

use crate::scene::{CARRIERS, Carrier, announce, far, reaches};

/// libvirt leaves a macvtap (in VEPA mode, if nobody says otherwise) on the host that a machine has left, and makes one on the host that it comes to.
#[test]
fn a_machine_behind_another_host_is_reached_past_a_device_that_was_left_here() {
    needs!(require::lab, require::tc, require::binary);
    for carrier in CARRIERS {
        for state in ["down", "up"] {
            let lab = Lab::new();
            let web = lab.child("web", Mode::Bridge);
            let machine = lab.newcomer("machine");
            lab.host.ns.ip_batch([
                format!("link add link eth0 name tap address {} type macvtap mode vepa", machine.mac),
                format!("link set tap {state}"),
            ]);
            let _running = carrier.start(&lab);
            let there = far(&lab, machine.mac, machine.ip);
            assert!(reaches(&lab.host, &there), "{carrier:?} {state}: host to machine");
            assert!(reaches(&web, &there), "{carrier:?} {state}: child to machine");
            assert!(reaches(&there, &lab.host), "{carrier:?} {state}: machine to host");
        }
    }
}

#[test]
fn a_container_that_moved_to_another_host_is_reached_there() {
    needs!(require::lab, require::tc, require::binary);
    for carrier in CARRIERS {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let _running = carrier.start(&lab);
        if carrier != Carrier::Plain {
            assert!(reaches(&web, &lab.host), "{carrier:?}");
        }
        web.ns.ip("link del web");
        let there = far(&lab, web.mac, web.ip);
        // What comes within a second of its own broadcast is taken for that, come back.
        wait_for("the container", || {
            announce(&there);
            reaches(&lab.host, &there).then_some(())
        });
    }
}

#[test]
fn the_last_place_that_spoke_has_the_mac() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.host.knows(&web);
    web.knows(&lab.host);
    let attached = Attached::new(&lab, &[]);
    let elsewhere = || child(&status(&lab), "web")["elsewhere"] == true;
    assert!(ping(&web, lab.host.ip.into()) && !elsewhere());
    let there = far(&lab, web.mac, lab.newcomer("another").ip);
    wait_for("it to be elsewhere", || {
        announce(&there);
        elsewhere().then_some(())
    });
    assert_eq!(child(&status(&lab), "web")["local"], false);
    assert!(ping(&web, lab.host.ip.into()), "whatever it sends brings it back");
    assert!(!elsewhere() && ping(&lab.host, web.ip.into()));
    attached.detach(&[]).succeeded();
}

/// What isolation drops was sent as well: else a sibling would reach it through the wire until it sends something
/// else.
#[test]
fn a_frame_to_a_sibling_that_it_may_not_reach_brings_a_private_child_back() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.child("web", Mode::Private), lab.child("db", Mode::Private));
    lab.introduce(&[&web, &db]);
    let attached = Attached::new(&lab, &[]);
    let elsewhere = || child(&status(&lab), "web")["elsewhere"] == true;
    let there = far(&lab, web.mac, lab.newcomer("another").ip);
    wait_for("it to be elsewhere", || {
        announce(&there);
        elsewhere().then_some(())
    });
    assert!(is_silent(&web, db.ip.into()), "it is isolated");
    assert!(!elsewhere(), "it sent");
    attached.detach(&[]).succeeded();
}

#[test]
fn a_follower_tells_of_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let running = Carrier::Followed.start(&lab).unwrap_or_else(|| unreachable!());
    let there = far(&lab, web.mac, lab.newcomer("another").ip);
    announce(&there);
    running.wait_for_line("is elsewhere: its MAC was heard on the wire");
    assert!(reaches(&web, &lab.host));
    running.wait_for_line("is here again");
}

#[test]
fn a_scrape_shows_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let exporter = Exporter::by_command(&lab);
    let series = format!("macvlan_child_elsewhere{{master=\"eth0\",mac=\"{}\"}}", web.mac);
    exporter.scrape_until("a child that is here", |scraped| scraped.get(&series) == Some(0.0));
    let there = far(&lab, web.mac, lab.newcomer("another").ip);
    exporter.scrape_until("it to be elsewhere", |scraped| {
        announce(&there);
        scraped.get(&series) == Some(1.0)
    });
    assert!(reaches(&web, &lab.host));
    exporter.scrape_until("it to be back", |scraped| scraped.get(&series) == Some(0.0));
}

/// Held to its MAC on a wire that is not trusted, a child is where it is: the other one is a forger.
#[test]
fn nobody_on_the_wire_takes_the_mac_of_a_child_that_is_held_to_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.host.knows(&web);
    let attached = Attached::new(&lab, &[]);
    lab.ctl(&["child", "set", "eth0", &named(&web, "anti-spoof=mac")]).succeeded();
    let there = far(&lab, web.mac, lab.newcomer("another").ip);
    for _ in 0..3 {
        announce(&there);
    }
    let forged = || attached.stats().master_dropped(DropReason::Spoofed).packets;
    wait_for("the forgeries", || (forged() > 0).then_some(()));
    assert_eq!(child(&status(&lab), "web")["elsewhere"], false);
    assert!(ping(&lab.host, web.ip.into()));
}

/// A switch for VEPA sends a child's broadcasts back: that is no other place.
#[test]
fn a_reflection_moves_nobody() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().reflective_switch().build();
    let children =
        [lab.child("web", Mode::Bridge), lab.child("db", Mode::Private), lab.child("vm", Mode::Vepa)];
    let _attached = Attached::new(&lab, &[]);
    for _ in 0..3 {
        for station in &children {
            assert!(reaches(station, &lab.wire));
        }
    }
    for station in &children {
        assert_eq!(child(&status(&lab), &station.dev)["elsewhere"], false, "{}", station.dev);
    }
}

/// QEMU and libvirt announce a machine that has come by reverse ARP alone (RFC 903), and without an address.
#[test]
fn a_machine_that_announces_itself_by_reverse_arp_alone_is_elsewhere() {
    needs!(require::lab, require::tc, require::binary);
    const RARP: [u8; 2] = [0x80, 0x35];
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let attached = Attached::new(&lab, &[]);
    assert!(ping(&web, lab.host.ip.into()));
    let mac = web.mac.octets();
    let head = [&[0xff; 6][..], &mac, &RARP].concat();
    let request = [&[0, 1, 8, 0, 6, 4, 0, 3][..], &mac, &[0; 4], &mac, &[0; 4]].concat();
    let frame = [head, request, vec![0; 18]].concat();
    let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
    wait_for("it to be elsewhere", || {
        wire.send_times(&frame, 1);
        (child(&status(&lab), "web")["elsewhere"] == true).then_some(())
    });
    attached.detach(&[]).succeeded();
}
