//! From nothing to what the file says.

use macvlan_common::mac::Mac;
use macvlan_tests::{
    cli,
    control::{ALIAS, child, members, names_of, status},
    deny,
    lab::Lab,
    needs, require,
    talk::{is_silent, ping},
};

use super::{
    Everything, apply, assert_differs, assert_same, assert_untouched, assert_up_to_date, child_table,
    configure, default_routes, device, master, with_file,
};

#[test]
fn from_nothing_everything_is_made_and_a_second_time_nothing_changes() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    let web_lines = "mode = \"private\"\nmtu = 1400\nbcqueuelen = 5000\ngw = [\"10.9.0.1\"]";
    configure(
        &lab,
        master("require-bpf = true\ntc = \"clsact\"\nmax-children = 9")
            + &child_table(&web, web_lines)
            + &child_table(&db, "kind = \"macvtap\"\nhost-access = false"),
    );
    assert_differs(
        &lab,
        &[&web, &db],
        &["create macvlan \"web\"", "create macvtap \"db\"", "attach the data path"],
    );

    let ran = apply(&lab);

    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.report());
    let link = device(&web);
    assert_eq!(link["address"], web.mac.to_string());
    assert_eq!(link["ifalias"], ALIAS);
    assert_eq!((&link["mtu"], &link["linkinfo"]["info_kind"]), (&1400.into(), &"macvlan".into()));
    let data = &link["linkinfo"]["info_data"];
    assert_eq!((&data["mode"], &data["bcqueuelen"]), (&"private".into(), &5000.into()));
    assert_eq!(device(&db)["linkinfo"]["info_kind"], "macvtap");
    assert_eq!(default_routes(&web)[0]["gateway"], "10.9.0.1");
    let told = status(&lab);
    assert_eq!((&told["datapath"], &told["hairpin"]), (&"bpf".into(), &"clsact".into()));
    assert_eq!(child(&told, "web")["host_access"], true);
    assert_eq!(child(&told, "db")["host_access"], false);
    assert!(ping(&lab.host, web.ip.into()) && ping(&web, lab.host.ip.into()));
    assert!(is_silent(&lab.host, db.ip.into()));
    assert!(ping(&lab.wire, db.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_apply_then_does() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, guest) = (lab.newcomer("web"), lab.child("guest", macvlan_common::child::Mode::Bridge));
    configure(
        &lab,
        master("[[master.policy]]\nmatch = { name = \"guest\" }\nhost-access = false")
            + &child_table(&web, ""),
    );
    let before = Everything::of(&lab, &[&web, &guest]);

    let dry = with_file(&lab, "apply", &["--dry-run"]).succeeded();
    let json = with_file(&lab, "apply", &["--dry-run", "-j"]).succeeded().json();
    let differing = with_file(&lab, "check", &["-j"]);

    assert_untouched(&Everything::of(&lab, &[&web, &guest]), &before, "dry run");
    assert_eq!(differing.code(), 1);
    assert_eq!(differing.json(), json);
    let real = with_file(&lab, "apply", &["-j"]).succeeded();
    assert_eq!(real.json(), json);
    let lines: Vec<String> = json
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            format!("{}: {}", step["ifname"], step["step"].as_str().unwrap_or_default()).replace('"', "")
        })
        .collect();
    assert_eq!(dry.stdout.replace('"', "").lines().collect::<Vec<_>>(), lines);
    assert!(lines[1].contains("adopt macvlan guest") && lines[1].ends_with("host access off"), "{lines:?}");
    assert_eq!(with_file(&lab, "apply", &["-j"]).succeeded().stdout, "[]\n");
    assert_eq!(with_file(&lab, "check", &["-j"]).succeeded().stdout, "[]\n");
}

#[test]
fn what_the_file_leaves_out_stays_as_it_is() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    configure(&lab, master("") + &child_table(&web, "mode = \"private\"\nmtu = 1400"));
    apply(&lab);
    lab.ctl(&["child", "set", "eth0", "web,host-access=off"]).succeeded();
    configure(&lab, master("") + &child_table(&web, ""));

    assert_up_to_date(&lab);

    assert_eq!(device(&web)["linkinfo"]["info_data"]["mode"], "private");
    assert_eq!(device(&web)["mtu"], 1400);
    assert_eq!(child(&status(&lab), "web")["host_access"], false);
}

#[test]
fn a_change_of_the_file_is_a_change_of_the_machine() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (mut web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    configure(&lab, master("xdp = \"off\"") + &child_table(&web, "host-access = false"));
    apply(&lab);
    let old = web.mac;
    web.mac = Mac::new([0x02, 0, 0, 0, 7, 7]);
    configure(
        &lab,
        master("xdp = \"generic\"\nadopt = false")
            + &child_table(&web, "mode = \"private\"")
            + &child_table(&db, ""),
    );
    let change = format!("mode bridge to private, MAC {old} to {}", web.mac);
    assert_differs(
        &lab,
        &[&web, &db],
        &[
            &change,
            "create macvlan \"db\"",
            "leave children of others alone",
            "set xdp of \"eth0\" to generic",
        ],
    );

    apply(&lab);

    assert_eq!(members(&lab), [web.mac, db.mac].into());
    let told = status(&lab);
    assert_eq!(told["demux"], "xdp-generic");
    assert_eq!(child(&told, "web")["host_access"], false, "what was set for it goes with it");
    assert_eq!(device(&web)["linkinfo"]["info_data"]["mode"], "private");
    assert!(ping(&lab.host, db.ip.into()));
    assert_up_to_date(&lab);
}

#[test]
fn where_bpf_is_forbidden_the_children_are_made_and_a_second_time_nothing_changes() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.newcomer("web");
    let filtered = |args: &[&str]| {
        let mut command = lab.ctl_command(&[args, &["--config", super::FILE]].concat());
        deny::bpf(&mut command, libc::EPERM);
        cli::output(&mut command)
    };
    configure(&lab, master("require-bpf = true") + &child_table(&web, ""));
    let before = Everything::of(&lab, &[&web]);
    assert!(filtered(&["apply"]).failed(1).contains("BPF is unavailable"));
    assert_same(&Everything::of(&lab, &[&web]), &before, "refused");

    configure(&lab, master("") + &child_table(&web, "host-access = false"));
    let first = filtered(&["apply"]).succeeded();
    let second = filtered(&["apply"]).succeeded();
    let checked = filtered(&["check"]).succeeded();

    assert!(first.stdout.contains("create macvlan \"web\""), "{}", first.report());
    assert_eq!((second.stdout.as_str(), checked.stdout.as_str()), ("up to date\n", "up to date\n"));
    for ran in [&first, &second, &checked] {
        assert!(ran.stderr.contains("1 children run as plain kernel macvlan"), "{}", ran.report());
    }
    assert!(ping(&lab.wire, web.ip.into()));
    // Where it is available again, so it is.
    assert_differs(&lab, &[&web], &["take up macvlan \"web\"", "attach the data path"]);
    apply(&lab);
    assert_eq!(names_of(&status(&lab)), ["web".to_owned()].into());
    assert!(is_silent(&lab.host, web.ip.into()));
}
