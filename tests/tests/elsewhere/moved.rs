//! A machine that has moved to another host, with its MAC and its address.

use macvlan_common::{child::Mode, counters::DropReason};
use macvlan_tests::{
    attached::Attached,
    control::{child, named, status},
    fail::wait_for,
    lab::Lab,
    needs, require,
    talk::ping,
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
