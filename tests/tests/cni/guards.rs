//! Guards that a network asks for.

use macvlan_tests::{
    cni::{Call, network, plugin, reserved, station},
    control::{members, status},
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::{is_silent, ping},
};
use serde_json::json;

use crate::verbs::devices_of;

#[test]
fn a_group_keeps_containers_apart_that_are_not_in_it() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let nss = [Netns::new(), Netns::new(), Netns::new()];
    let attach = |ns: &Netns, name: &str, group: &str| {
        let mut config = network("1.0.0");
        config["group"] = json!(group);
        let call = Call::new(plugin(), name, ns, config);
        (station(ns, &call.add(&lab)), call)
    };
    let (web, call) = attach(&nss[0], "web", "blue");
    let (db, _) = attach(&nss[1], "db", "blue");
    let (other, _) = attach(&nss[2], "other", "red");
    assert!(ping(&web, db.ip.into()));
    assert!(is_silent(&web, other.ip.into()));
    for container in [&web, &db, &other] {
        assert!(ping(&lab.host, container.ip.into()));
    }
    call.del(&lab);
    assert_eq!(members(&lab), [db.mac, other.mac].into());
}

#[test]
fn a_guard_needs_a_data_path_that_knows_every_child() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut config = network("1.0.0");
    config["antiSpoof"] = json!(true);
    let call = Call::new(plugin(), "c1", &ns, config);
    lab.ctl(&["attach", "eth0", "--no-adopt"]).succeeded();
    let (code, message) = call.refused(&lab, "ADD");
    assert_eq!((code, message.contains("macvlan-ctl attach eth0")), (7, true), "{message}");
    assert!(devices_of(&ns).is_empty() && reserved(&lab).is_empty() && members(&lab).is_empty());
    lab.ctl(&["detach", "eth0"]).succeeded();
    call.add(&lab);
    let told = status(&lab)["children"][0].to_string();
    assert!(told.contains(r#""anti_spoof":"mac""#), "{told}");
    call.del(&lab);
}
