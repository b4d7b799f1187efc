//! A real Docker network on a Wi-Fi device, as its documentation says that it cannot be.

use std::{net::Ipv4Addr, time::Duration};

use macvlan_tests::{
    attached::Attached,
    engine::{Engine, Kind},
    lab::Family,
    needs, require,
    talk::{ping, ping_within, tcp_transfer},
};

use crate::{air::NETWORKS, scene::Scene};

const WEB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 20);

/// Long enough for an answer, if there was any.
const WHILE: Duration = Duration::from_secs(1);

#[test]
fn a_docker_network_on_a_wireless_device_reaches_beyond_the_air() {
    needs!(require::lab, require::radios, require::docker);
    let [_, wpa2, _] = NETWORKS;
    let scene = Scene::new(wpa2);
    let Scene { lab, other, .. } = &scene;
    let engine = Engine::start(Kind::Docker, lab);
    let web = engine.run("web", WEB).station;
    assert!(!ping_within(&web, lab.wire.ip.into(), WHILE), "plain macvlan");
    assert!(!ping_within(&lab.wire, WEB.into(), WHILE), "plain macvlan");

    let attached = Attached::new(lab, &["--single-mac=auto"]);
    let container = attached.status()["children"]
        .as_array()
        .and_then(|children| children.iter().find(|child| child["address"] == web.mac.to_string()))
        .map(|child| child["container"]["name"].clone());
    assert_eq!(container, Some("web".into()), "{:#}", attached.status());
    for beyond in [&lab.wire, other, &lab.host] {
        assert!(ping(&web, beyond.ip.into()), "the container to {}", beyond.ip);
        assert!(ping(beyond, WEB.into()), "{} to the container", beyond.ip);
    }
    tcp_transfer(&web, &lab.wire, Family::V4, 256 << 10);
    tcp_transfer(&lab.wire, &web, Family::V4, 256 << 10);
    attached.detach(&[]).succeeded();
}
