//! A namespace that vanishes, at any time: nothing of its container stays.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use macvlan_tests::{
    cni::{Call, REFERENCE, network, plugin, reserved},
    control::{members, status},
    fail::{OrFail as _, wait_for},
    lab::Lab,
    needs,
    netns::Netns,
    require,
};
use serde_json::json;

use crate::verbs::devices_of;

/// Where the tests name a namespace, as `ip netns add` does.
const NAMED: &str = "/run/netns/c1";

/// Gives the namespace up before it gives an address.
const GIVES_UP: &str = r#"#!/bin/sh
if [ "$CNI_COMMAND" = ADD ]; then umount -l /run/netns/c1 && rm /run/netns/c1; fi
exec "#;

#[test]
fn a_namespace_that_vanishes_before_an_add_is_an_unknown_container() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let mut call = Call { netns: Some(NAMED.into()), ..Call::new(plugin(), "c1", &ns, network("1.0.0")) };
    call.config["prevResult"] = json!({"ips": []});
    for verb in ["ADD", "CHECK"] {
        let (code, message) = call.refused(&lab, verb);
        assert_eq!((code, message.contains("does not exist")), (3, true), "{verb}: {message}");
    }
    // Unmounted, but not removed yet.
    lab.mounts().enter(|| {
        fs::create_dir_all("/run/netns").or_fail("make a directory");
        fs::write(NAMED, "").or_fail("make a file");
    });
    let (code, message) = call.refused(&lab, "ADD");
    assert_eq!((code, message.contains("is not a network namespace")), (4, true), "{message}");
    call.del(&lab);
    assert!(reserved(&lab).is_empty());
    let ours = lab.mounts().enter(|| fs::exists("/sys/fs/bpf/macvlan-ctl"));
    assert!(!ours.or_fail("look for pins"), "nothing was to be attached");
}

#[test]
fn a_namespace_that_vanishes_in_the_middle_of_an_add_leaves_nothing() {
    needs!(require::lab, require::cni);
    // The one works while the device is made, the other once it is there.
    for name in ["host-local", "another"] {
        for is_held in [true, false] {
            let lab = Lab::new();
            lab.ctl(&["attach", "eth0"]).succeeded();
            lab.mounts().enter(|| {
                fs::create_dir("/run/cni").or_fail("make a directory");
                let program = PathBuf::from("/run/cni").join(name);
                fs::write(&program, format!("{GIVES_UP}{REFERENCE}/host-local\n")).or_fail("write a plugin");
                let executable = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&program, executable).or_fail("make it executable");
            });
            let ns = Netns::new();
            lab.mounts().name_netns("c1", &ns);
            let mut config = network("1.0.0");
            config["ipam"]["type"] = json!(name);
            let mut call = Call::new(plugin(), "c1", &ns, config);
            (call.netns, call.path) = (Some(NAMED.into()), "/run/cni".into());
            // Else the plugin alone holds it, and it ends with the plugin.
            let held = is_held.then_some(ns);

            let (code, message) = call.refused(&lab, "ADD");

            let case = format!("{name}, held: {is_held}: {message}");
            assert_eq!((code, message.contains("is gone")), (3, true), "{case}");
            assert!(members(&lab).is_empty() && reserved(&lab).is_empty(), "{case}");
            assert!(held.is_none_or(|ns| devices_of(&ns).is_empty()), "{case}");
            assert_eq!(status(&lab)["children"], json!([]), "{case}");
            call.del(&lab);
        }
    }
}

#[test]
fn a_namespace_that_vanished_takes_its_attachment_along() {
    needs!(require::lab, require::cni);
    let lab = Lab::new();
    let ns = Netns::new();
    let call = Call::new(plugin(), "c1", &ns, network("1.0.0"));
    call.add(&lab);
    assert_eq!(members(&lab).len(), 1);
    drop(ns);
    wait_for("the child to vanish", || {
        status(&lab)["children"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    Call { netns: Some("/run/netns/vanished".into()), ..call }.del(&lab);
    assert!(members(&lab).is_empty());
    assert!(reserved(&lab).is_empty());
}
