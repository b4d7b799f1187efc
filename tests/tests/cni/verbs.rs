//! Every verb, in every version of the specification, beside the reference plugin where it has it.

use macvlan_common::child::Mode;
use macvlan_tests::{
    cni::{Call, network, plugin, reference, reserved, station},
    control::{devices, members, names_of, status},
    fail::wait_for,
    following::Following,
    lab::Lab,
    needs,
    netns::Netns,
    require,
    talk::{is_silent, ping},
};
use serde_json::{Value, json};

/// Those that Debian's reference plugin speaks too.
const SHARED: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

#[test]
fn both_plugins_answer_and_do_the_same_in_every_version() {
    needs!(require::lab, require::cni);
    for version in SHARED {
        let [theirs, ours] = [reference(), plugin()].map(|plugin| {
            let lab = Lab::new();
            let ns = Netns::new();
            let mut call = Call::new(plugin, "c1", &ns, network(version));
            let result = call.add(&lab);
            let seen = seen(&ns);
            call.config["prevResult"] = result.clone();
            if version >= "0.4.0" {
                call.run(&lab, "CHECK").succeeded();
                ns.ip("addr flush dev eth0");
                assert!(call.refused(&lab, "CHECK").0 > 0);
            }
            call.del(&lab);
            call.del(&lab);
            assert!(devices_of(&ns).is_empty());
            assert!(reserved(&lab).is_empty());
            (masked(result), seen)
        });
        assert_eq!(ours, theirs, "version {version}");
    }
}

#[test]
fn the_newest_version_has_the_shape_of_the_one_before() {
    needs!(require::lab, require::cni);
    let [before, newest] = ["1.0.0", "1.1.0"].map(|version| {
        let lab = Lab::new();
        let ns = Netns::new();
        // Debian's host-local knows no 1.1.0: the plugin speaks 1.0.0 with it.
        let mut result = Call::new(plugin(), "c1", &ns, network(version)).add(&lab);
        assert_eq!(result["cniVersion"], version);
        result["cniVersion"].take();
        masked(result)
    });
    assert_eq!(newest, before);
}

#[test]
fn the_type_alone_gives_host_access() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let (before, after) = (Netns::new(), Netns::new());
    let theirs = station(&before, &Call::new(reference(), "c1", &before, network("1.0.0")).add(&lab));
    assert!(ping(&lab.wire, theirs.ip.into()));
    assert!(is_silent(&lab.host, theirs.ip.into()));
    let call = Call::new(plugin(), "c2", &after, network("1.0.0"));
    let ours = station(&after, &call.add(&lab));
    assert!(ping(&lab.host, ours.ip.into()));
    assert!(ping(&ours, lab.host.ip.into()));
    assert!(ping(&lab.wire, ours.ip.into()));
    // What others made stays as it was.
    assert!(is_silent(&lab.host, theirs.ip.into()));
    assert_eq!(members(&lab), [ours.mac].into());
    call.del(&lab);
    assert!(members(&lab).is_empty());
}

#[test]
fn host_access_can_be_declined() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut config = network("1.0.0");
    config["hostAccess"] = json!(false);
    let call = Call::new(plugin(), "c1", &ns, config);
    let container = station(&ns, &call.add(&lab));
    assert!(is_silent(&lab.host, container.ip.into()));
    assert_eq!(status(&lab)["datapath"], "kernel");
    call.del(&lab);
    // Nor where the data path is there for others.
    lab.ctl(&["attach", "eth0"]).succeeded();
    let container = station(&ns, &call.add(&lab));
    assert!(is_silent(&lab.host, container.ip.into()));
    assert!(ping(&lab.wire, container.ip.into()));
}

#[test]
fn a_network_without_addresses_has_a_device_that_is_up() {
    needs!(require::lab, require::cni);
    let [theirs, ours] = [reference(), plugin()].map(|plugin| {
        let lab = Lab::new();
        let ns = Netns::new();
        let mut config = network("1.0.0");
        config.as_object_mut().unwrap().remove("ipam");
        let call = Call::new(plugin, "c1", &ns, config);
        let result = call.add(&lab);
        let seen = seen(&ns);
        call.del(&lab);
        assert!(devices_of(&ns).is_empty());
        (masked(result), seen)
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours.0.get("ips"), None);
}

#[test]
fn every_key_of_the_reference_plugin_does_the_same() {
    needs!(require::lab, require::cni);
    let mac = "02:00:00:00:09:99";
    for (keys, args) in [
        (json!({"mode": "private"}), ""),
        (json!({"mode": "vepa"}), ""),
        (json!({"mode": "passthru"}), ""),
        (json!({"mtu": 1400}), ""),
        (json!({"mac": mac}), ""),
        (json!({"runtimeConfig": {"mac": mac}}), "IgnoreUnknown=1;MAC=02:00:00:00:09:98"),
        (json!({}), "IgnoreUnknown=1;MAC=02:00:00:00:09:98"),
        (json!({"master": ""}), ""),
        (json!({"dns": {"nameservers": ["10.9.0.1"]}}), ""),
    ] {
        let [theirs, ours] = [reference(), plugin()].map(|plugin| {
            let lab = Lab::new();
            lab.host.ns.ip("route add default via 10.9.0.1 dev eth0");
            let ns = Netns::new();
            let mut config = network("0.4.0");
            config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            let call = Call { args, ..Call::new(plugin, "c1", &ns, config) };
            let result = call.add(&lab);
            let given = keys.to_string().contains(mac) || !args.is_empty();
            let is = given.then(|| result["interfaces"][0]["mac"].clone());
            let seen = seen(&ns);
            call.del(&lab);
            (is, masked(result), seen)
        });
        assert_eq!(ours, theirs, "{keys} {args}");
    }
}

#[test]
fn a_master_in_the_container_is_found_there() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    ns.ip("link add lower0 type veth peer name lower1");
    ns.ip("link set lower0 up");
    let mut config = network("1.0.0");
    config["master"] = json!("lower0");
    config["linkInContainer"] = json!(true);
    config["bcqueuelen"] = json!(77);
    let call = Call::new(plugin(), "c1", &ns, config);
    call.add(&lab);
    let device = &devices_of(&ns)[0];
    assert_eq!(device["link"], "lower0");
    assert_eq!(device["linkinfo"]["info_data"]["bcqueuelen"], 77);
    call.del(&lab);
    assert!(devices_of(&ns).is_empty());
}

#[test]
fn status_says_what_an_add_would_find() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut call = Call::new(plugin(), "", &ns, network("1.1.0"));
    call.run(&lab, "STATUS").succeeded();
    call.config["ipam"]["type"] = json!("absent");
    assert_eq!(call.refused(&lab, "STATUS").0, 50);
    call.config["ipam"]["type"] = json!("host-local");
    // A container can be attached all the same.
    lab.host.ns.ip("link set eth0 down");
    call.run(&lab, "STATUS").succeeded();
    call.config["master"] = json!("eth7");
    assert_eq!(call.refused(&lab, "STATUS").0, 51);
}

#[test]
fn a_container_waits_for_a_master_that_is_down() {
    needs!(require::lab, require::cni);
    let lab = Lab::with().ipv6().build();
    let ns = Netns::new();
    lab.host.ns.ip("link set eth0 down");
    let mut config = network("1.0.0");
    config["ipam"]["ranges"] = json!([[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.50"}],
                                      [{"subnet": "fd09::/64", "rangeStart": "fd09::50"}]]);
    config["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "2001:db8::/32"}]);
    let mut call = Call::new(plugin(), "c1", &ns, config);
    let added = call.run(&lab, "ADD").succeeded();
    assert!(added.stderr.contains("master \"eth0\" is down"), "{}", added.report());
    call.config["prevResult"] = added.json();
    call.run(&lab, "CHECK").succeeded();
    let container = station(&ns, &added.json());
    assert!(is_silent(&lab.wire, container.ip.into()));
    lab.host.ns.ip("link set eth0 up");
    wait_for("the container to be on the network", || {
        [&lab.wire, &lab.host].iter().all(|other| ping(other, container.ip.into())).then_some(())
    });
    assert_eq!(members(&lab), [container.mac].into());
    call.del(&lab);
    assert!(devices_of(&ns).is_empty());
}

#[test]
fn check_sees_what_became_of_an_attachment() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    assert_eq!(call.refused(&lab, "CHECK").0, 7);
    call.config["prevResult"] = call.add(&lab);
    let damages: [(&str, &[&str]); 3] = [
        ("link set eth0 down", &["link set eth0 up", "route add default via 10.9.0.1"]),
        ("route del default", &["route add default via 10.9.0.1"]),
        ("link set eth0 address 02:00:00:00:09:97", &[]),
    ];
    for (damage, repairs) in damages {
        call.run(&lab, "CHECK").succeeded();
        ns.ip(damage);
        assert_eq!(call.refused(&lab, "CHECK").0, 100, "{damage}");
        repairs.iter().for_each(|repair| drop(ns.ip(repair)));
    }
}

#[test]
fn commands_and_the_follower_agree_with_the_plugin() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let following = Following::start(&lab, &["eth0"]);
    let other = lab.child("other", Mode::Bridge);
    following.wait_for_members(&[&other]);
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    let container = station(&ns, &call.add(&lab));
    following.wait_for_members(&[&other, &container]);
    assert!(ping(&lab.host, container.ip.into()));
    let spec = format!("eth0,netns={}", ns.path().display());
    assert!(lab.ctl(&["child", "del", "eth0", &spec]).failed(1).contains("did not make it"));
    assert!(names_of(&status(&lab)).contains("eth0"));
    call.del(&lab);
    following.wait_for_members(&[&other]);
}

#[test]
fn detach_leaves_an_orchestrators_children() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    let container = station(&ns, &call.add(&lab));
    lab.ctl(&["detach", "eth0", "--delete-children"]).succeeded();
    assert_eq!(devices(&container).len(), 1);
    lab.ctl(&["attach", "eth0", "--no-adopt"]).succeeded();
    assert!(ping(&lab.host, container.ip.into()));
}

/// The macvlan devices in a container.
pub fn devices_of(ns: &Netns) -> Vec<Value> {
    let links = ns.ip_json("link show type macvlan");
    links.as_array().into_iter().flatten().filter(|link| link["ifname"].is_string()).cloned().collect()
}

/// What of a container both plugins must make alike.
fn seen(ns: &Netns) -> Value {
    let link = &devices_of(ns)[0];
    let addresses = &ns.ip_json("-4 addr show dev eth0")[0]["addr_info"][0];
    let routes = ns.ip_json("-4 route show");
    json!({
        "name": link["ifname"], "mtu": link["mtu"], "mode": link["linkinfo"]["info_data"]["mode"],
        "up": link["flags"].to_string().contains("\"UP\""),
        "address": [&addresses["local"], &addresses["prefixlen"]],
        "routes": routes.as_array().into_iter().flatten()
            .map(|route| json!([&route["dst"], &route["gateway"], &route["dev"]])).collect::<Vec<_>>(),
    })
}

/// A result without what differs between any two containers.
fn masked(mut result: Value) -> Value {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        for key in ["mac", "sandbox"] {
            assert!(interface[key].as_str().is_some_and(|text| !text.is_empty()), "no {key}");
            interface[key] = json!("");
        }
    }
    result
}
