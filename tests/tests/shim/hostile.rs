//! What containers, other devices and killed runs do to a shim.

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::{self, names_of},
    lab::Lab,
    leak::Traces,
    needs, require,
    talk::{is_silent, ping},
};

use crate::{SHIM, attach_shim, has_shim, host_itself, routed, status, without_bpf};

#[test]
fn a_container_draws_none_of_the_hosts_traffic_to_itself() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let evil = lab.child("evil", Mode::Bridge);
    lab.host.ns.ip(&format!("route add default via {}", lab.wire.ip));
    for address in [lab.wire.ip.to_string(), lab.host.ip.to_string(), "8.8.8.8".into(), "10.9.0.255".into()] {
        evil.ns.ip(&format!("addr add {address}/24 dev evil"));
    }
    let before = host_itself(&lab);
    attach_shim(&lab, &[]);
    assert_eq!(routed(&lab, "-4"), [evil.ip.to_string()]);
    assert_eq!(host_itself(&lab), before);
    let way = lab.host.ns.ip_json("route get 8.8.8.8");
    assert_eq!(way[0]["dev"], "eth0", "{way}");
}

#[test]
fn a_container_hides_no_child_behind_our_mark() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    for mark in ["alias 'macvlan-ctl shim'", "group 1836479336"] {
        let words: Vec<&str> = mark.splitn(2, ' ').collect();
        let value = words[1].trim_matches('\'');
        macvlan_tests::cli::run(web.ns.command("ip").args(["link", "set", "dev", "web", words[0], value]));
        assert_eq!(names_of(&status(&lab)), ["web".to_owned()].into());
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(control::members(&lab), [web.mac].into());
        lab.ctl(&["detach", "eth0"]).succeeded();
        assert_eq!(control::devices(&web).len(), 1);
    }
}

#[test]
fn a_name_that_is_taken_is_left_to_whoever_has_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.host.ns.ip(&format!("link add {SHIM} type bridge"));
    let before = Traces::of(&lab);
    let ran = attach_shim(&lab, &[]);
    assert!(
        ran.stderr.contains("cannot make shim \"mvshim-eth0\": another device has that name"),
        "{}",
        ran.report()
    );
    assert_eq!(status(&lab)["hairpin"], "off");
    assert!(is_silent(&lab.host, web.ip.into()));
    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
}

#[test]
fn a_route_of_the_users_own_stays_and_wins() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.host.ns.ip(&format!("route add {}/32 dev eth0 metric 9", web.ip));
    let before = host_itself(&lab);
    attach_shim(&lab, &[]);
    assert_eq!(lab.host.ns.ip_json(&format!("route get {}", web.ip))[0]["dev"], "eth0");
    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert_eq!(host_itself(&lab), before);
}

#[test]
fn one_that_a_killed_run_left_half_made_is_made_anew_or_removed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let before = Traces::of(&lab);
    let half = || {
        lab.host.ns.ip(&format!("link add link eth0 name {SHIM} group 1836479336 type macvlan mode bridge"))
    };
    half();
    assert_eq!(names_of(&status(&lab)), ["web".to_owned()].into());
    attach_shim(&lab, &[]);
    assert!(ping(&lab.host, web.ip.into()));
    without_bpf(&lab, &["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
    half();
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert!(!has_shim(&lab));
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_eq!(Traces::of(&lab), before);
}

#[test]
fn it_takes_nothing_from_ipv6_routers_and_has_a_name_that_fits() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().master("a-master-15char").full_ipv6().build();
    let _web = lab.child("web", Mode::Bridge);
    let args = ["attach", &lab.host.dev, "--on-missing-bpf", "shim"];
    without_bpf(&lab, &args).succeeded();
    let shim = format!("mvshim.{:x}", lab.host.ns.ifindex(&lab.host.dev));
    let setting = |name: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{shim}/{name}");
        lab.host.ns.enter(|| std::fs::read_to_string(&path)).unwrap_or_default().trim().to_owned()
    };
    assert_eq!((setting("accept_ra").as_str(), setting("addr_gen_mode").as_str()), ("0", "1"));
    let addresses = lab.host.ns.ip_json(&format!("-6 addr show dev {shim}"));
    for address in addresses[0]["addr_info"].as_array().into_iter().flatten() {
        assert_eq!(address["prefixlen"], 128, "{addresses:#}");
    }
}
