//! Who may talk to the host, by MAC, name and namespace.

use std::collections::BTreeMap;

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::{child, named, status},
    lab::Lab,
    needs, require,
    talk::{is_silent, ping},
};

use super::{apply, assert_differs, assert_up_to_date, child_table, configure, master};

#[test]
fn policies_match_by_mac_name_and_namespace_and_the_first_wins() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let stations: BTreeMap<&str, _> =
        ["one", "two", "guest1", "guest2"].map(|name| (name, lab.child(name, Mode::Bridge))).into();
    let own = lab.newcomer("guest3");
    for (name, station) in &stations {
        lab.mounts().name_netns(&format!("ns-{name}"), &station.ns);
    }
    let policies = format!(
        "[[master.policy]]\nmatch = {{ mac = \"{}\" }}\nhost-access = true\n\
         [[master.policy]]\nmatch = {{ name = \"guest*\" }}\nhost-access = false\n\
         [[master.policy]]\nmatch = {{ netns = \"ns-t?o\", name = \"two\" }}\nhost-access = false\n\
         [[master.policy]]\nmatch = {{ netns = \"ns-t*\" }}\nhost-access = true\n",
        stations["guest1"].mac
    );
    configure(&lab, master("") + &child_table(&own, "host-access = true") + &policies);

    apply(&lab);

    for (name, on) in [("one", true), ("two", false), ("guest1", true), ("guest2", false)] {
        let station = &stations[name];
        assert_eq!(child(&status(&lab), name)["host_access"], on, "{name}");
        if on {
            assert!(ping(&lab.host, station.ip.into()) && ping(station, lab.host.ip.into()), "{name}");
        } else {
            assert!(
                is_silent(&lab.host, station.ip.into()) && is_silent(station, lab.host.ip.into()),
                "{name}"
            );
        }
        assert!(ping(&lab.wire, station.ip.into()), "{name}");
    }
    assert!(ping(&lab.host, own.ip.into()), "what the file says of it comes first");
    assert_up_to_date(&lab);

    // What no rule speaks of is as somebody set it; what one speaks of is put right.
    lab.ctl(&["child", "set", "eth0", &named(&stations["one"], "host-access=off")]).succeeded();
    assert_up_to_date(&lab);
    lab.ctl(&["child", "set", "eth0", &named(&stations["guest1"], "host-access=off")]).succeeded();
    let one = "turn host access of macvlan \"guest1\" in netns \"ns-guest1\" on";
    assert_differs(&lab, &[&stations["guest1"]], &[one]);
    apply(&lab);
    assert!(ping(&lab.host, stations["guest1"].ip.into()));
    assert_eq!(child(&status(&lab), "one")["host_access"], false);
}

#[test]
fn a_policy_by_path_reaches_a_namespace_of_another_name() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().name_netns("blue", &web.ns);
    let policy = format!("[[master.policy]]\nmatch = {{ netns = {:?} }}\nhost-access = false", web.ns.path());
    configure(&lab, master(&policy));
    apply(&lab);
    assert!(is_silent(&lab.host, web.ip.into()));
    assert_up_to_date(&lab);
}
