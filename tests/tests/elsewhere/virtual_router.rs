//! A router on the wire has a virtual MAC that a device on this host has too, as a backup's.

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    control::{child, named, status},
    fail::wait_for,
    lab::Lab,
    needs, require,
    stats::Stats,
    talk::ping,
};

use crate::scene::{CARRIERS, Carrier, VIRTUAL, hears_adverts, reaches};

/// How the device of a backup is kept from taking part.
const STATES: [&str; 3] = ["down", "up", "protodown on up"];

/// What a carrier carries: host to router, child to router, and the router's advertisements.
type Carried = (bool, bool, bool);

fn carried(carrier: Carrier, mode: Mode, state: &str) -> Carried {
    let lab = Lab::new();
    lab.wire.ns.ip(&format!("link set {} address {VIRTUAL}", lab.wire.dev));
    let web = lab.child("web", Mode::Bridge);
    let mode = mode.as_str();
    lab.host.ns.ip(&format!("link add link eth0 name vmac address {VIRTUAL} type macvlan mode {mode}"));
    lab.host.ns.ip(&format!("link set vmac {state}"));
    let _running = carrier.start(&lab);
    (reaches(&lab.host, &lab.wire), reaches(&web, &lab.wire), hears_adverts(&lab))
}

#[test]
fn a_virtual_mac_of_the_hosts_own_hides_no_router() {
    needs!(require::lab, require::tc, require::binary);
    for mode in [Mode::Private, Mode::Bridge] {
        for state in STATES {
            let [plain, attached, followed] = CARRIERS.map(|carrier| carried(carrier, mode, state));
            assert!(plain.0, "{mode:?} {state}: plain macvlan reaches the router");
            assert_eq!(attached, plain, "{mode:?} {state}: attached");
            assert_eq!(followed, plain, "{mode:?} {state}: followed");
        }
    }
}

/// A container's device: down or protodown it is nobody, up it is elsewhere once the router has spoken.
#[test]
fn a_virtual_mac_of_a_container_hides_no_router() {
    needs!(require::lab, require::tc, require::binary);
    for carrier in CARRIERS {
        for state in STATES {
            let lab = Lab::new();
            lab.wire.ns.ip(&format!("link set {} address {VIRTUAL}", lab.wire.dev));
            let vmac = lab.child("vmac", Mode::Private);
            vmac.ns.ip_batch([
                "link set vmac down".into(),
                format!("link set vmac address {VIRTUAL}"),
                format!("link set vmac {state}"),
            ]);
            let web = lab.child("web", Mode::Bridge);
            let _running = carrier.start(&lab);
            if state == "up" {
                // Consumed by the private device, which plain macvlan takes for the sender.
                hears_adverts(&lab);
            }
            assert!(reaches(&lab.host, &lab.wire), "{carrier:?} {state}: host to router");
            assert!(reaches(&web, &lab.wire), "{carrier:?} {state}: child to router");
        }
    }
}

/// Down, up, down again while the programs are there, as at a fail-over and back.
#[test]
fn a_follower_keeps_up_with_a_device_that_goes_down_and_up() {
    needs!(require::lab, require::tc, require::binary);
    for (off, on) in [("down", "up"), ("protodown on", "protodown off")] {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        let _running = Carrier::Followed.start(&lab);
        assert!(ping(&lab.host, web.ip.into()));
        for _ in 0..2 {
            web.ns.ip(&format!("link set web {off}"));
            wait_for("it to be nobody", || (local(&lab, "web") == Some(false)).then_some(()));
            web.ns.ip(&format!("link set web {on}"));
            wait_for("it to be there", || (local(&lab, "web") == Some(true)).then_some(()));
            assert!(ping(&lab.host, web.ip.into()), "{on}");
        }
    }
}

/// Nobody follows: the child itself shows that it is up, by whatever it sends.
#[test]
fn a_child_that_was_down_at_attach_is_known_once_it_sends() {
    needs!(require::lab, require::tc, require::binary);
    for mode in [Mode::Bridge, Mode::Private] {
        let lab = Lab::new();
        let (web, db) = (lab.child("web", mode), lab.child("db", Mode::Bridge));
        lab.introduce(&[&lab.host, &web, &db]);
        web.ns.ip("link set web down");
        Carrier::Attached.start(&lab);
        assert_eq!((local(&lab, "web"), local(&lab, "db")), (Some(false), Some(true)));
        assert!(ping(&lab.host, db.ip.into()));
        web.ns.ip("link set web up");
        lab.introduce(&[&lab.host, &web]);
        assert!(ping(&web, lab.host.ip.into()), "{mode:?}");
        assert!(ping(&lab.host, web.ip.into()), "{mode:?}");
        assert_eq!(local(&lab, "web"), Some(true), "{mode:?}");
    }
}

#[test]
fn a_child_that_goes_down_keeps_counters_and_settings() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _running = Carrier::Followed.start(&lab);
    lab.ctl(&["child", "set", "eth0", &named(&web, "ra=off")]).succeeded();
    assert!(ping(&lab.host, web.ip.into()));
    let counted = || {
        let told = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
        Stats::of(&told).tx("web", Path::Host).packets
    };
    let before = counted();
    web.ns.ip("link set web down");
    wait_for("it to be nobody", || (local(&lab, "web") == Some(false)).then_some(()));
    assert_eq!(counted(), before);
    web.ns.ip("link set web up");
    wait_for("it to be there", || (local(&lab, "web") == Some(true)).then_some(()));
    assert!(counted() >= before && before > 0);
    assert_eq!(child(&status(&lab), "web")["ra"], false);
}

/// What `status` says of a child.
fn local(lab: &Lab, name: &str) -> Option<bool> {
    let status = status(lab);
    let children = status["children"].as_array()?;
    children.iter().find(|child| child["ifname"] == name)?["local"].as_bool()
}
