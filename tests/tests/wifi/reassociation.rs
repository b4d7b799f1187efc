//! Stations that associate anew, as when they roam, are away for a while, or are given another MAC.

use macvlan_common::mac::Mac;
use macvlan_tests::{following::Following, needs, require};
use nix::sys::signal::Signal;

use crate::{
    air::{DEVICE, NETWORKS},
    scene::Scene,
};

#[test]
fn children_go_on_when_the_station_associates_anew() {
    needs!(require::lab, require::radios);
    for network in NETWORKS {
        let scene = Scene::new(network);
        let Scene { access_point, supplicant, lab, .. } = &scene;
        let _run = Following::start(lab, &[DEVICE, "--single-mac"]);
        scene.all_talk(&format!("{network:?}"));
        supplicant.associates_anew(lab, || supplicant.reassociate(lab));
        scene.all_talk(&format!("{network:?}, associated anew"));
        // It reads its file again, and sends all its stations away.
        supplicant.associates_anew(lab, || access_point.signal(Signal::SIGHUP));
        scene.all_talk(&format!("{network:?}, sent away and back"));
    }
}

#[test]
fn children_go_on_when_the_station_has_another_mac() {
    needs!(require::lab, require::radios);
    const NEW: Mac = Mac::new([2, 0, 0, 0, 9, 9]);
    for network in NETWORKS {
        let scene = Scene::new(network);
        let Scene { supplicant, lab, .. } = &scene;
        let _run = Following::start(lab, &[DEVICE, "--single-mac"]);
        scene.all_talk(&format!("{network:?}"));
        // As NetworkManager does it before it associates.
        supplicant.associates_anew(lab, || {
            let lines =
                ["down", &format!("address {NEW}"), "up"].map(|what| format!("link set {DEVICE} {what}"));
            lab.host.ns.ip_batch(lines);
        });
        scene.all_talk(&format!("{network:?}, with another MAC"));
    }
}
