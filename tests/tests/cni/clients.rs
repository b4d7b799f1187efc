//! Programs that run plugins: Podman, and containerd with `ctr`.

use std::net::Ipv4Addr;

use macvlan_tests::{
    cni::network,
    control::members,
    engine::{Containerd, Engine},
    fail::OrFail as _,
    lab::{Family, Lab, Station},
    needs, require,
    talk::{is_silent, ping, tcp_transfer},
};
use serde_json::json;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 20);

#[test]
fn a_podman_network_gains_host_access_by_its_type_alone() {
    needs!(require::lab, require::cni, require::podman);
    let lab = Lab::new();
    let engine = Engine::with_plugin(&lab);
    let web = engine.run("web", WEB);
    assert_eq!(members(&lab), [web.station.mac].into());
    talks(&lab.host, &web.station);
    assert!(ping(&lab.wire, WEB.into()));
    // Its namespace would live on.
    drop(web.station);

    engine.restart("web");

    let web = engine.find("web", WEB);
    assert_eq!(members(&lab), [web.station.mac].into());
    talks(&lab.host, &web.station);
    engine.remove("web");
    assert!(members(&lab).is_empty());
    assert!(is_silent(&lab.host, WEB.into()));
}

#[track_caller]
fn talks(host: &Station, container: &Station) {
    const BYTES: usize = 1 << 18;
    tcp_transfer(host, container, Family::V4, BYTES);
    tcp_transfer(container, host, Family::V4, BYTES);
}

#[test]
fn a_container_of_ctr_reaches_the_host_and_leaves_nothing() {
    needs!(require::lab, require::cni, require::containerd);
    let lab = Lab::new();
    let mut plugin = network("1.0.0");
    plugin["ipam"].as_object_mut().or_fail("read the network").remove("dataDir");
    let list = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [plugin]});
    let containerd = Containerd::start(&lab, &list);

    let mut client = containerd.launch("web");
    for other in [&lab.host, &lab.wire] {
        assert!(ping(other, Ipv4Addr::new(10, 9, 0, 50).into()));
    }
    assert_eq!(members(&lab).len(), 1);
    for other in [&lab.host, &lab.wire] {
        containerd.exec("web", &["ping", "-c", "1", "-W", "5", &other.ip.to_string()]).succeeded();
    }

    containerd.kill("web");

    // Which status it ends with is that of the container, killed.
    client.wait().or_fail("wait for `ctr`");
    assert!(members(&lab).is_empty());
    let books = || std::fs::exists("/var/lib/cni/networks/lan/10.9.0.50");
    assert!(!lab.mounts().enter(books).or_fail("look for the address"), "the address is kept");
}
