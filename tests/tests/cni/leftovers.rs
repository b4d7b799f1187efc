//! What fails, is killed or is forgotten: nothing of it stays.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use macvlan_common::child::Mode;
use macvlan_core::kernel::netlink::macvlan::{UNFINISHED_GROUP, passing_name};
use macvlan_tests::{
    cni::{Call, REFERENCE, network, plugin, reserved, station},
    control::members,
    fail::{OrFail as _, wait_for},
    lab::Lab,
    leak::pins,
    needs,
    netns::Netns,
    require,
};
use serde_json::{Value, json};

#[test]
fn an_address_plugin_that_fails_leaves_no_device() {
    needs!(require::lab, require::cni);
    for (script, code) in [
        ("[ $CNI_COMMAND = DEL ] && touch /run/released; echo '{\"code\": 42, \"msg\": \"no\"}'; exit 1", 42),
        ("[ $CNI_COMMAND = DEL ] && touch /run/released; echo '{}'", 6),
        ("[ $CNI_COMMAND = DEL ] && touch /run/released; echo '{\"ips\": [{\"address\": \"x\"}]}'", 6),
        ("[ $CNI_COMMAND = DEL ] && touch /run/released; exit 9", 100),
    ] {
        let lab = Lab::new();
        let ns = Netns::new();
        let call = with_address_plugin(&lab, &ns, script);
        assert_eq!(call.refused(&lab, "ADD").0, code, "{script}");
        assert!(is_empty(&ns));
        assert!(members(&lab).is_empty());
        assert!(lab.mounts().enter(|| fs::exists("/run/released")).or_fail("look"), "{script}");
    }
}

/// The address plugin of a killed ADD goes on: it keeps its books to the end. The DEL comes after that.
#[test]
fn a_del_waits_for_the_address_plugin_of_a_killed_add() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let script = "case $CNI_COMMAND in \
        ADD) touch /run/begun; while [ ! -e /run/may-end ]; do sleep 0.01; done; touch /run/given ;; \
        DEL) rm -f /run/given ;; \
        esac";
    let call = with_address_plugin(&lab, &ns, script);
    let exists = |path: &str| lab.mounts().enter(|| fs::exists(path)).or_fail("look");
    let mut adding = start(&call, &lab, "ADD");
    wait_for("the address plugin to begin", || exists("/run/begun").then_some(()));
    adding.kill().or_fail("kill the plugin");
    adding.wait().or_fail("wait for the plugin");

    let mut deleting = start(&call, &lab, "DEL");
    thread::sleep(Duration::from_millis(100));
    assert_eq!(deleting.try_wait().or_fail("look at DEL"), None, "it did not wait");
    lab.mounts().enter(|| fs::write("/run/may-end", "")).or_fail("write");
    assert!(deleting.wait().or_fail("wait for DEL").success());

    assert!(!exists("/run/given"));
    assert!(is_empty(&ns));
    // Nor is anything left of the lock.
    assert!(!exists("/run/macvlan-ctl"));
}

#[test]
fn a_killed_add_leaves_nothing_that_del_does_not_clear() {
    needs!(require::lab, require::cni);
    kill_and_clear(|lab, call| call.del(lab));
}

#[test]
fn a_killed_add_leaves_no_device_that_gc_does_not_clear() {
    needs!(require::lab, require::cni);
    let books = kill_and_clear(|lab, call| {
        let mut config = network("1.1.0");
        config["cni.dev/valid-attachments"] = json!([]);
        Call { config, ..call.clone() }.run(lab, "GC").succeeded();
        // An address without a device is the address plugin's to find: Debian's has no GC.
        call.del(lab);
    });
    assert!(books > 0, "no ADD was killed late enough to have an address");
}

/// Kernels up to 6.12 see the device under another name for a moment.
#[test]
fn a_device_that_a_killed_add_could_not_rename_is_cleared() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    let leave = || {
        let (name, path) = (passing_name("eth0"), ns.path());
        lab.host.ns.ip(&format!(
            "link add link eth0 name {name} netns {} group {UNFINISHED_GROUP} type macvlan mode bridge",
            path.display()
        ));
        assert!(!is_empty(&ns));
    };
    leave();
    call.del(&lab);
    assert!(is_empty(&ns));
    leave();
    call.add(&lab);
    let links = ns.ip_json("link show type macvlan");
    assert_eq!((links[0]["ifname"].as_str(), links[1]["ifname"].as_str()), (Some("eth0"), None));
    call.del(&lab);
    assert!(is_empty(&ns));
}

/// A call that has addresses managed by this script.
fn with_address_plugin(lab: &Lab, ns: &Netns, script: &str) -> Call<'static> {
    lab.mounts().enter(|| {
        fs::create_dir("/run/cni").or_fail("make a directory");
        fs::write("/run/cni/test", format!("#!/bin/sh\ncat >/dev/null\n{script}\n")).or_fail("write");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions("/run/cni/test", executable).or_fail("make it executable");
    });
    let mut config = network("1.0.0");
    config["ipam"] = json!({"type": "test"});
    Call { path: "/run/cni".into(), ..Call::new(plugin(), "c1", ns, config) }
}

/// Begins a verb.
#[track_caller]
fn start(call: &Call<'_>, lab: &Lab, verb: &str) -> Child {
    let mut command = call.command(lab, verb);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().or_fail("run the plugin");
    let mut input = child.stdin.take().or_fail("write to the plugin");
    input.write_all(call.config.to_string().as_bytes()).or_fail("write to the plugin");
    child
}

/// Kills ADDs later and later, and has what is left cleared. Tells how many had an address by then.
#[track_caller]
fn kill_and_clear(clear: impl Fn(&Lab, &Call<'_>)) -> usize {
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    let mut addressed = 0;
    for step in 0..24 {
        let ns = Netns::new();
        let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
        let mut child = start(&call, &lab, "ADD");
        thread::sleep(Duration::from_millis(3 * step));
        child.kill().or_fail("kill the plugin");
        child.wait().or_fail("wait for the plugin");
        addressed += usize::from(!reserved(&lab).is_empty());
        clear(&lab, &call);
        assert!(is_empty(&ns), "after {} ms", 3 * step);
        assert_eq!(reserved(&lab), Vec::<String>::new(), "after {} ms", 3 * step);
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert!(members(&lab).is_empty(), "after {} ms", 3 * step);
        // And another one can come.
        call.add(&lab);
        call.del(&lab);
    }
    addressed
}

#[test]
fn gc_keeps_what_the_runtime_knows_and_what_others_have() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let nss: Vec<Netns> = (0..3).map(|_| Netns::new()).collect();
    let mut other = network("1.0.0");
    other["name"] = json!("other");
    let calls = [
        Call::new(plugin(), "kept", &nss[0], network("1.0.0")),
        Call::new(plugin(), "stale", &nss[1], network("1.0.0")),
        Call::new(plugin(), "foreign", &nss[2], other),
    ];
    let kept = station(&nss[0], &calls[0].add(&lab));
    calls[1].add(&lab);
    let mut foreign_config = calls[2].clone();
    foreign_config.config["ipam"]["ranges"][0][0]["rangeStart"] = json!("10.9.0.90");
    let foreign = station(&nss[2], &foreign_config.add(&lab));
    let mut config = network("1.1.0");
    let gc = |config: &Value| Call { config: config.clone(), ..calls[0].clone() };
    // Who says nothing of attachments leaves them all.
    gc(&config).run(&lab, "GC").succeeded();
    assert!(nss.iter().all(|ns| !is_empty(ns)));
    config["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    gc(&config).run(&lab, "GC").succeeded();
    assert!(!is_empty(&nss[0]) && is_empty(&nss[1]) && !is_empty(&nss[2]));
    assert_eq!(members(&lab), [kept.mac, foreign.mac].into());
    assert_eq!(reserved(&lab), [kept.ip.to_string()]);
    // As libcni writes an empty list.
    config["cni.dev/valid-attachments"] = Value::Null;
    gc(&config).run(&lab, "GC").succeeded();
    assert!(is_empty(&nss[0]) && !is_empty(&nss[2]));
    assert_eq!(members(&lab), [foreign.mac].into());
}

#[test]
fn gc_believes_no_alias() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let (ns, stranger) = (Netns::new(), lab.child("pod", Mode::Bridge));
    let call = Call::new(plugin(), "kept", &ns, network("1.0.0"));
    let kept = station(&ns, &call.add(&lab));
    set_alias(&stranger.ns, "pod", "macvlan-ctl cni lan c9 eth0");
    // Nor does one of ours become another's, or nobody's.
    for alias in ["macvlan-ctl cni lan c9 eth0", ""] {
        set_alias(&ns, "eth0", alias);
        let mut config = network("1.1.0");
        config["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
        Call { config, ..call.clone() }.run(&lab, "GC").succeeded();
        assert!(!is_empty(&ns) && !is_empty(&stranger.ns));
        assert_eq!(reserved(&lab), [kept.ip.to_string()]);
    }
    call.del(&lab);
    assert!(is_empty(&ns) && !is_empty(&stranger.ns));
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert!(!pins(&lab).iter().any(|pin| pin.starts_with("/sys/fs/bpf/macvlan-ctl")));
}

#[track_caller]
fn set_alias(ns: &Netns, dev: &str, alias: &str) {
    let ran = ns.command("ip").args(["link", "set", dev, "alias", alias]).output().or_fail("run ip");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_del_without_a_namespace_finds_the_device() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    lab.mounts().name_netns("c1", &ns);
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    call.add(&lab);
    Call { netns: None, path: REFERENCE.into(), ..call }.del(&lab);
    assert!(is_empty(&ns));
    assert!(members(&lab).is_empty());
    assert!(reserved(&lab).is_empty());
}

fn is_empty(ns: &Netns) -> bool {
    let links = ns.ip_json("link show type macvlan");
    links.as_array().is_none_or(|links| links.iter().all(|link| link["ifname"].is_null()))
}
