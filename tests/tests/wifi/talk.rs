//! Who reaches whom.

use std::time::Duration;

use macvlan_tests::{
    attached::Attached,
    lab::FAMILIES,
    needs, require,
    talk::{ping, ping_within, tcp_transfer},
};

use crate::{air::NETWORKS, scene::Scene};

const WHILE: Duration = Duration::from_secs(1);

#[test]
fn children_and_stations_beyond_the_air_reach_each_other_until_detach() {
    needs!(require::lab, require::radios);
    for network in NETWORKS {
        let scene = Scene::new(network);
        let Scene { lab, children, .. } = &scene;
        let attached = Attached::new(lab, &["--single-mac=auto"]);
        assert_eq!(attached.status()["single_mac"], true, "{network:?}: a station is known as one");
        scene.all_talk(&format!("{network:?}"));
        scene.forget_neighbours();
        scene.all_talk(&format!("{network:?}, neighbours forgotten"));
        let [one, two] = children;
        for family in FAMILIES {
            for (from, to) in [(&lab.host, one), (one, &lab.host), (one, two), (two, one)] {
                let (here, there) = (&from.dev, &to.dev);
                assert!(ping(from, to.address(family)), "{network:?}: {here} to {there}, {family:?}");
            }
            tcp_transfer(one, &lab.wire, family, 256 << 10);
            tcp_transfer(&lab.wire, one, family, 256 << 10);
        }
        attached.detach(&[]).succeeded();
        for family in FAMILIES {
            assert!(ping(&lab.host, lab.wire.address(family)), "{network:?}: the host itself, {family:?}");
            let stays_out = |from, to| !ping_within(from, to, WHILE);
            assert!(stays_out(one, lab.wire.address(family)), "{network:?}: after detach, {family:?}");
            assert!(stays_out(&lab.host, one.address(family)), "{network:?}: after detach, {family:?}");
        }
        let devices = lab.host.ns.ip("-o link show");
        assert!(!devices.contains("mvflood"), "{devices}");
    }
}
