//! Bad input of every kind: the specification's errors, and nothing left.

use std::path::PathBuf;

use macvlan_tests::{
    cni::{Call, error, network, plugin, reserved},
    lab::Lab,
    leak, needs,
    netns::Netns,
    require,
};
use serde_json::{Value, json};

#[test]
fn bad_input_gets_its_code_and_leaves_nothing() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let good = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    let with = |key: &str, value: Value| {
        let mut config = network("1.0.0");
        config[key] = value;
        Call { config, ..good.clone() }
    };
    let cases = [
        (Call { container: "../c1".into(), ..good.clone() }, 4),
        (Call { container: String::new(), ..good.clone() }, 4),
        (Call { ifname: "a/b", ..good.clone() }, 4),
        (Call { ifname: "", ..good.clone() }, 4),
        (Call { args: "MAC", ..good.clone() }, 4),
        (Call { path: String::new(), ..good.clone() }, 4),
        (Call { netns: None, ..good.clone() }, 4),
        (Call { netns: Some("/run".into()), ..good.clone() }, 4),
        (Call { netns: Some(lab.host.ns.path()), ..good.clone() }, 4),
        (Call { netns: Some("/run/netns/vanished".into()), ..good.clone() }, 3),
        (with("cniVersion", json!("2.0.0")), 1),
        (with("cniVersion", json!(1)), 6),
        (with("mtu", json!("1400")), 6),
        (with("name", json!("")), 7),
        (with("name", json!("../../etc")), 7),
        (with("mode", json!("router")), 7),
        (with("mtu", json!(9000)), 7),
        (with("mac", json!("ff:ff:ff:ff:ff:ff")), 7),
        (with("master", json!("eth7")), 7),
        (with("master", json!("lo")), 7),
        (with("ipam", json!({"type": "../../bin/sh"})), 7),
        (with("ipam", json!({"type": "absent"})), 7),
        (with("hostAcess", json!(false)), 2),
        (with("HostAccess", json!(false)), 2),
        (with("antiSpoof", json!("dna")), 7),
        (Call { config: without_addresses("ip"), ..good.clone() }, 7),
        (with("group", json!("light blue")), 7),
        (with("duplicateWait", json!(-1)), 7),
        (with("rate", json!({"in": "1mbit"})), 2),
        (with("rate", json!({"rx": "1mbps"})), 7),
        (with("runtimeConfig", json!({"bandwidth": {"ingressBurst": 1}})), 7),
    ];
    for (call, code) in cases {
        assert_eq!(call.refused(&lab, "ADD").0, code, "{call:?}");
        is_untouched(&lab, &ns);
    }
    for input in [Vec::new(), b"{".to_vec(), b"[]".to_vec(), b"\xff\xfe".to_vec(), vec![b'['; 200_000]] {
        assert_eq!(error(&good.run_with(&lab, "ADD", input)).0, 6);
    }
    assert_eq!(error(&good.run_with(&lab, "ADD", vec![b' '; 4 << 20])).0, 5);
    for verb in ["", "add", "NONSENSE"] {
        assert_eq!(good.refused(&lab, verb).0, 4, "{verb:?}");
    }
    is_untouched(&lab, &ns);
}

#[test]
fn an_error_names_the_object_and_the_remedy() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let refused = |config: Value| Call::new(plugin(), "c1", &ns, config).refused(&lab, "ADD");
    let mut slip = network("1.1.0");
    slip["hostAcess"] = json!(false);
    let told = "unknown key \"hostAcess\" (of false): did you mean \"hostAccess\"?";
    assert_eq!(refused(slip), (2, told.to_owned()));
    let (code, message) = refused(without_addresses("ip"));
    assert_eq!((code, message.contains("use \"mac\", or give the network an ipam")), (7, true), "{message}");
    // The lab's host has no default route.
    for named in ["", "default"] {
        let mut no_master = network("1.1.0");
        no_master["master"] = json!(named);
        let (code, message) = refused(no_master);
        assert_eq!((code, message.contains("there is no default route")), (7, true), "{message}");
    }
    is_untouched(&lab, &ns);
}

/// A network without addresses, with this guard.
fn without_addresses(guard: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": "lan", "type": "macvlan-cni", "master": "eth0", "antiSpoof": guard})
}

#[test]
fn a_second_add_is_refused_and_the_first_stays() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    call.add(&lab);
    let (code, message) = call.refused(&lab, "ADD");
    assert_eq!((code, message.contains("attached already")), (4, true), "{message}");
    assert_eq!(ns.ip_json("-4 addr show dev eth0")[0]["addr_info"][0]["local"], "10.9.0.50");
    assert_eq!(reserved(&lab), ["10.9.0.50"]);
}

#[test]
fn a_device_of_somebody_else_is_never_touched() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    lab.host.ns.ip("link add link eth0 name eth0x type macvlan");
    lab.host.ns.ip(&format!("link set eth0x netns {}", ns.path().display()));
    ns.ip("link set eth0x name eth0");
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    assert_eq!(call.refused(&lab, "ADD").0, 4);
    call.del(&lab);
    let other = Call { container: "c2".into(), ..call };
    other.del(&lab);
    assert_eq!(ns.ip_json("link show dev eth0")[0]["ifname"], "eth0");
}

#[track_caller]
fn is_untouched(lab: &Lab, ns: &Netns) {
    let links = ns.ip_json("link show type macvlan");
    assert!(
        links.as_array().is_none_or(|links| links.iter().all(|link| link["ifname"].is_null())),
        "{links}"
    );
    assert!(reserved(lab).is_empty());
    // The kernel has two of its own in every BPF file system.
    let ours = |path: &PathBuf| path.starts_with("/sys/fs/bpf/macvlan-ctl");
    assert!(!leak::pins(lab).iter().any(ours));
}
