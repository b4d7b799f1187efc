//! What cannot be is refused before anything is done, or taken back.

use macvlan_tests::{
    control::{child, devices, members, status},
    lab::{Lab, Station},
    needs, require,
    talk::ping,
};

use super::{
    Everything, FILE, apply, assert_same, child_table, configure, default_routes, master, status_of_failure,
    with_file,
};

#[test]
fn a_failure_half_way_leaves_the_machine_as_it_was() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let (web, db, more) = (lab.newcomer("web"), lab.newcomer("db"), lab.newcomer("more"));
    // No address reaches this gateway: only the kernel can tell.
    let impossible = "gw = [\"192.0.2.1\"]";
    configure(&lab, master("") + &child_table(&web, "") + &child_table(&db, impossible));
    let before = Everything::of(&lab, &[&web, &db]);

    let ran = with_file(&lab, "apply", &[]);

    assert!(ran.failed(1).contains("cannot add child \"db\""), "{}", ran.report());
    assert_eq!(ran.stdout, "", "nothing was done, and nothing is to be told");
    assert_same(&Everything::of(&lab, &[&web, &db]), &before, "taken back");

    configure(
        &lab,
        master("") + &child_table(&web, "gw = [\"10.9.0.1\"]") + &child_table(&db, "host-access = false"),
    );
    apply(&lab);
    let extra = "mode = \"private\"\nmtu = 1300\nbcqueuelen = 4000\nhost-access = false\ngw = [\"10.9.0.3\"]";
    let extra = child_table(&web, extra).replace("ip = [", "ip = [\"10.9.0.99/24\", ");
    configure(
        &lab,
        master("adopt = false") + &child_table(&more, "") + &extra + &child_table(&db, impossible),
    );
    let before = Everything::of(&lab, &[&web, &db]);
    let (routes, known) = (default_routes(&web), members(&lab));

    let ran = with_file(&lab, "apply", &[]);

    assert!(ran.failed(1).contains("cannot change child \"db\""), "{}", ran.report());
    assert!(devices(&more).is_empty());
    assert_same(&Everything::of(&lab, &[&web, &db]), &before, "taken back");
    assert_eq!((default_routes(&web), members(&lab)), (routes, known));
    assert!(ping(&lab.host, web.ip.into()));
}

/// Gives the host a second master.
fn second_master(lab: &Lab) {
    lab.host.ns.ip("link add eth1 type veth peer name wire1");
    lab.host.ns.ip("link set eth1 up");
    lab.host.ns.ip("link set wire1 up");
}

#[test]
fn nothing_is_done_on_any_master_when_one_cannot_be_as_the_file_says() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    second_master(&lab);
    lab.host.ns.ip("link property add dev eth1 altname other1");
    let (web, db) = (lab.newcomer("web"), lab.newcomer("db"));
    let first = master("") + &child_table(&web, "");
    let before = Everything::of(&lab, &[&web, &db]);
    let twin = child_table(&web, "").replace(&web.mac.to_string(), "02:00:00:00:07:07");
    // The same namespace by another path.
    let twin = twin.replace("/proc/", "/proc/../proc/");
    for (second, part) in [
        ("[[master]]\nname = \"eth9\"\n".to_owned(), "\"eth9\": no such device"),
        ("[[master]]\nname = \"lo\"\n".into(), "loopback"),
        (
            format!("[[master]]\nname = \"eth1\"\n{}", child_table(&db, "mtu = 9000")),
            "cannot have child \"db\"",
        ),
        (format!("[[master]]\nname = \"eth1\"\n{twin}"), "asked for on \"eth0\" too"),
        (
            "[[master]]\nname = \"eth1\"\n[[master]]\nname = \"other1\"\n".into(),
            "the same device as \"eth1\"",
        ),
        (
            "[[master]]\nname = \"eth1\"\n[[master.child]]\nname = \"x\"\nnetns = \"none\"\n".into(),
            "no network namespace \"none\"",
        ),
    ] {
        configure(&lab, first.clone() + &second);
        for command in ["check", "apply"] {
            let ran = with_file(&lab, command, &[]);
            assert!(ran.failed(status_of_failure(command)).contains(part), "{}", ran.report());
            assert_eq!(ran.stdout, "");
        }
        assert_same(&Everything::of(&lab, &[&web, &db]), &before, second);
    }
}

#[test]
fn a_failure_on_one_master_stops_none_of_the_others() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    second_master(&lab);
    let (web, db): (Station, Station) = (lab.newcomer("web"), lab.newcomer("db"));
    configure(
        &lab,
        format!("[[master]]\nname = \"eth1\"\n{}", child_table(&db, "gw = [\"192.0.2.1\"]"))
            + &master("")
            + &child_table(&web, ""),
    );
    let ran = with_file(&lab, "apply", &[]);
    assert!(ran.failed(1).contains("cannot apply the configuration to \"eth1\""), "{}", ran.report());
    assert!(ran.stdout.lines().all(|line| line.starts_with("eth0: ")), "{}", ran.report());
    assert!(devices(&db).is_empty());
    assert_eq!(child(&status(&lab), "web")["owned"], true);
    assert!(ping(&lab.host, web.ip.into()));
}

#[test]
fn a_default_route_through_another_device_is_not_taken_over() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip("route add default via 10.9.0.1 dev eth0");
    configure(&lab, master("[[master.child]]\nname = \"web\"\nip = [\"10.9.0.50/24\"]\ngw = [\"10.9.0.1\"]"));
    let (before, routes) = (Everything::of(&lab, &[]), default_routes(&lab.host));
    let ran = with_file(&lab, "apply", &[]);
    assert!(ran.failed(1).contains("default route through another device"), "{}", ran.report());
    assert_same(&Everything::of(&lab, &[]), &before, "refused");
    assert_eq!(default_routes(&lab.host), routes);
}

#[test]
fn hostile_files_are_refused_and_change_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Everything::of(&lab, &[]);
    let ran = with_file(&lab, "apply", &[]);
    assert!(ran.failed(1).contains("cannot read configuration \"/run/macvlan-ctl.toml\": no such file"));
    let whole = master("");
    let mut binary = whole.clone().into_bytes();
    binary.extend([0xff, 0x00, 0xfe]);
    for (content, part) in [
        (binary, ":4: this is not UTF-8 text"),
        (vec![b'#'; (1 << 20) + 1], "larger than 1048576 bytes"),
        (format!("{whole}x = {}", "[".repeat(100_000)).into(), ":4: "),
        (format!("{whole}x = {}", "{a = ".repeat(100_000)).into(), ":4: "),
        (format!("{whole}{} = 1", "a.".repeat(100_000)).into(), ":4: "),
        (format!("{whole}modee = 1").into(), ":4: unknown key \"modee\""),
        (format!("{whole}name = 'eth1'").into(), ":4: "),
    ] {
        configure(&lab, content);
        for command in ["check", "apply"] {
            let ran = with_file(&lab, command, &[]);
            let message = ran.failed(status_of_failure(command));
            assert!(message.contains(FILE) && message.contains(part), "{part:?} in {message}");
        }
    }
    for path in ["/run", "/dev/zero", "/dev/tty"] {
        let ran = lab.ctl(&["apply", "--config", path]);
        assert!(ran.failed(1).contains(path), "{}", ran.report());
    }
    assert_same(&Everything::of(&lab, &[]), &before, "refused");
}
