//! Clients of a DHCP server and a router beyond the air.

use macvlan_tests::{
    dhcp,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::{Lab, Station},
    needs, require,
    talk::ping,
};
use nix::sys::signal::Signal;

use crate::{
    air::{DEVICE, NETWORKS},
    scene::Scene,
};

/// Waits until a station's client has told of one of these events.
#[track_caller]
fn wait_for_event(lab: &Lab, station: &Station, wanted: &[&str]) {
    let what = format!("{}'s client to say {wanted:?}", station.dev);
    wait_for(what, || {
        let all = dhcp::events(lab, station);
        let is_wanted = |event: &String| wanted.iter().any(|name| event.starts_with(&format!("{name} ")));
        all.iter().any(is_wanted).then_some(())
    });
}

#[test]
fn children_have_addresses_by_dhcp_and_from_routers_beyond_the_air() {
    needs!(require::lab, require::radios);
    for network in NETWORKS {
        let scene = Scene::new(network);
        let Scene { lab, children: [web, db], .. } = &scene;
        dhcp::write_script(lab);
        let _run = Following::start(lab, &[DEVICE, "--single-mac"]);
        let _router = dhcp::router(lab);
        for child in [web, db] {
            child.ns.ip(&format!("-4 addr flush dev {}", child.dev));
        }
        // At once, of two kinds.
        let (udhcpc, dhclient) = (dhcp::udhcpc(lab, web), dhcp::dhclient(lab, db));
        wait_for_event(lab, web, &["bound"]);
        wait_for_event(lab, db, &["BOUND"]);
        let leased = [web, db].map(|child| dhcp::address(child).or_fail("find the leased address"));
        assert_ne!(leased[0], leased[1], "{network:?}");
        udhcpc.signal(Signal::SIGUSR1);
        wait_for_event(lab, web, &["renew"]);
        drop(dhclient);
        let _dhclient = dhcp::dhclient(lab, db);
        wait_for_event(lab, db, &["REBOOT"]);
        for (child, ip) in [web, db].into_iter().zip(leased) {
            let title = format!("{network:?}: {} at {ip}", child.dev);
            assert_eq!(dhcp::address(child), Some(ip), "{title} after it was asked for again");
            assert!(ping(&lab.wire, ip.into()) && ping(child, lab.wire.ip.into()), "{title}");
            assert!(ping(&lab.host, ip.into()), "{title} from the host");
            let given = wait_for("an address of the router", || dhcp::address_of_router(child));
            assert!(ping(&lab.wire, given.into()), "{title}: the router to {given}");
            assert!(ping(child, dhcp::ROUTER.into()), "{title}: {given} to the router");
        }
    }
}
