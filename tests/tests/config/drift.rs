//! What somebody changed by hand is found by `check` and put right by `apply`.

use macvlan_tests::{
    cli,
    control::{child, devices, members, named, status},
    lab::{Lab, Station},
    needs, require,
    talk::{is_silent, ping},
};

use super::{
    Everything, apply, assert_differs, assert_same, assert_up_to_date, child_table, configure,
    default_routes, device, master, status_of_failure, with_file,
};

/// A lab with `web` as its file says, and nothing left out of it.
#[track_caller]
fn applied() -> (Lab, Station) {
    let lab = Lab::with().ipv6().build();
    let web = lab.newcomer("web");
    // Else it would be out of reach once its child is gone.
    lab.mounts().name_netns("web", &web.ns);
    let ip = format!("\"{}/24\", \"{}/64\"", web.ip, web.ip6);
    let lines = "mode = \"bridge\"\nmtu = 1400\nbcqueuelen = 3000\nhost-access = true\nup = true\n\
                 gw = [\"10.9.0.1\", \"fd09::1\"]";
    let table = child_table(&web, lines).replace(&format!("\"{}/24\"", web.ip), &ip);
    configure(&lab, master("") + &table);
    apply(&lab);
    assert_up_to_date(&lab);
    (lab, web)
}

#[test]
fn every_drift_is_found_and_put_right() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = applied();
    let good = Everything::of(&lab, &[&web]);
    let (ip, ip6) = (format!("address {}/24", web.ip), format!("address {}/64", web.ip6));
    let by_hand: &[(&str, &[&str])] = &[
        (
            "link set web type macvlan mode private",
            &["change macvlan \"web\" in netns \"web\": mode private to bridge"],
        ),
        ("link set web mtu 1300", &["MTU 1300 to 1400"]),
        ("link set web type macvlan bcqueuelen 77", &["bcqueuelen 77 to 3000"]),
        ("addr del IP/24 dev web", &[&ip]),
        ("-6 addr del IP6/64 dev web", &[&ip6]),
        ("route del default", &["gateway 10.9.0.1"]),
        ("-6 route del default", &["gateway fd09::1"]),
        ("route replace default via 10.9.0.9", &["gateway 10.9.0.1"]),
        ("link set web down", &["up, address"]),
    ];
    for (line, parts) in by_hand {
        let line = line.replace("IP6", &web.ip6.to_string()).replace("IP", &web.ip.to_string());
        web.ns.ip(&line);
        // The kernel tells the data path nothing of a mode.
        assert_differs(&lab, &[&web], parts);

        apply(&lab);

        assert_up_to_date(&lab);
        assert_eq!(Everything::of(&lab, &[&web]).status, good.status, "{line}");
        assert_eq!(default_routes(&web)[0]["gateway"], "10.9.0.1", "{line}");
        assert!(ping(&lab.host, web.ip.into()), "{line}");
        assert!(ping(&lab.host, web.ip6.into()), "{line}");
    }
}

#[test]
fn a_child_in_another_mode_differs_also_where_the_data_path_knows_that() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("web", &web.ns);
    configure(&lab, master("") + &child_table(&web, "mode = \"bridge\""));
    apply(&lab);
    web.ns.ip("link set web type macvlan mode private");
    // As a run does: then nothing but the file differs.
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_differs(&lab, &[&web], &["change macvlan \"web\" in netns \"web\": mode private to bridge"]);
    apply(&lab);
    assert_eq!(child(&status(&lab), "web")["mode"], "bridge");
    assert_up_to_date(&lab);
}

#[test]
fn another_mac_is_taken_back() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = applied();
    let other = "02:00:00:00:07:07";
    web.ns.ip(&format!("link set web address {other}"));
    let change = format!("MAC {other} to {}", web.mac);
    assert_differs(&lab, &[&web], &[&change]);
    apply(&lab);
    assert_eq!(device(&web)["address"], web.mac.to_string());
    assert_eq!(members(&lab), [web.mac].into());
    assert_up_to_date(&lab);
}

#[test]
fn a_child_that_was_deleted_is_made_anew() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = applied();
    web.ns.ip("link del web");
    let forget = format!("forget {}", web.mac);
    assert_differs(&lab, &[&web], &["create macvlan \"web\"", &forget]);
    apply(&lab);
    assert!(ping(&lab.host, web.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn host_access_that_was_changed_is_changed_back() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = applied();
    lab.ctl(&["child", "set", "eth0", &named(&web, "host-access=off")]).succeeded();
    assert!(is_silent(&lab.host, web.ip.into()));
    assert_differs(&lab, &[&web], &["turn host access of macvlan \"web\" in netns \"web\" on"]);
    apply(&lab);
    assert!(ping(&lab.host, web.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn a_data_path_that_was_taken_off_is_put_back_with_its_policies() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    configure(&lab, master("") + &child_table(&web, "") + &child_table(&db, "host-access = false"));
    apply(&lab);
    lab.ctl(&["detach", "eth0"]).succeeded();
    assert_differs(
        &lab,
        &[&web, &db],
        &["take up macvlan \"web\"", "take up macvlan \"db\"", "attach the data path"],
    );
    apply(&lab);
    assert!(ping(&lab.host, web.ip.into()));
    assert!(is_silent(&lab.host, db.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn a_part_of_the_data_path_that_somebody_removed_is_put_back() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    configure(&lab, master("tc = \"clsact\"") + &child_table(&web, ""));
    apply(&lab);
    cli::run(lab.host.ns.command("tc").args(["qdisc", "del", "dev", "eth0", "clsact"]));
    assert_eq!(with_file(&lab, "check", &[]).code(), 1);
    apply(&lab);
    assert!(ping(&lab.host, web.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn a_child_is_kept_down_and_keeps_its_addresses() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::with().ipv6().build();
    let web = lab.newcomer("web");
    lab.mounts().name_netns("web", &web.ns);
    let both = |lines: &str| {
        let ip = format!("\"{}/24\", \"{}/64\"", web.ip, web.ip6);
        child_table(&web, lines).replace(&format!("\"{}/24\"", web.ip), &ip)
    };
    configure(&lab, master("") + &both("up = true"));
    apply(&lab);
    configure(&lab, master("") + &both("up = false"));
    assert_differs(&lab, &[&web], &["change macvlan \"web\" in netns \"web\": down"]);
    apply(&lab);
    assert_eq!(child(&status(&lab), "web")["up"], false);
    assert_up_to_date(&lab);
    web.ns.ip("link set web up");
    assert_differs(&lab, &[&web], &["down"]);
    apply(&lab);
    assert_up_to_date(&lab);
}

#[test]
fn what_the_kernel_cannot_change_is_an_error_that_says_what_to_do() {
    needs!(require::lab, require::tc, require::binary);
    let (lab, web) = applied();
    let before = Everything::of(&lab, &[&web]);
    let more = lab.newcomer("more");
    for (lines, parts) in [
        ("kind = \"macvtap\"", ["kind of a device cannot change", "delete it and add another"]),
        ("mode = \"passthru\"", ["passthru", "delete it and add another"]),
        ("mtu = 9000", ["above the 1500 of \"eth0\"", "raise that first"]),
        ("mtu = 60", ["below the least of 68", "60"]),
    ] {
        configure(&lab, master("") + &child_table(&more, "") + &child_table(&web, lines));
        for command in ["check", "apply"] {
            let ran = with_file(&lab, command, &[]);
            let message = ran.failed(status_of_failure(command));
            assert!(message.contains("cannot have child \"web\""), "{message}");
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert_same(&Everything::of(&lab, &[&web]), &before, lines);
        assert!(devices(&more).is_empty(), "{lines}");
    }
    for (lines, part) in [
        ("max-children = 3", "cannot be changed in place: detach first"),
        ("tc = \"clsact\"", "cannot change to clsact in place: detach first"),
    ] {
        configure(&lab, master(lines) + &child_table(&more, ""));
        let ran = with_file(&lab, "apply", &[]);
        assert!(ran.failed(1).contains(part), "{}", ran.report());
        assert_same(&Everything::of(&lab, &[&web]), &before, lines);
        assert!(devices(&more).is_empty(), "{lines}");
    }
}
