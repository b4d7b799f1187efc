//! Children whose own devices cannot be reached: what is less for them is said.

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    control::status,
    fail::OrFail as _,
    lab::Lab,
    needs, require,
};

fn unshare() -> Result<(), String> {
    require::program("unshare")
}

/// Runs the program where it sees no process but itself, so that no path leads to another namespace.
fn from_afar(lab: &Lab, args: &[&str]) -> Ran {
    let mut command = lab.command(&lab.host.ns, "unshare");
    cli::output(command.args(["--pid", "--fork", "--mount-proc"]).arg(cli::binary()).args(args))
}

/// The reason why a feature is less than it should be, if it is.
fn reason(lab: &Lab, feature: &str) -> Option<String> {
    let status = status(lab);
    let degraded = status["degraded"].as_array().or_fail("read what is degraded");
    let part = degraded.iter().find(|part| part["feature"] == feature)?;
    assert_eq!((&part["wanted"], &part["got"]), (&"device".into(), &"master".into()), "{part}");
    Some(part["reason"].as_str().or_fail("read the reason").to_owned())
}

#[test]
fn options_that_need_the_childs_own_device_say_when_it_cannot_be_reached() {
    needs!(require::lab, require::tc, require::tcx, require::binary, unshare);
    for (option, feature) in
        [("ra=off", "ra"), ("dhcp-server=off", "dhcp-server"), ("anti-spoof=mac", "anti-spoof")]
    {
        let lab = Lab::new();
        let _web = lab.child("web", Mode::Bridge);
        // From then on the child is found by the number of its namespace.
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(reason(&lab, feature), None);

        let ran = from_afar(&lab, &["child", "set", "eth0", &format!("web,{option}")]).succeeded();

        let told = reason(&lab, feature).or_fail(format!("find {feature} in {}", status(&lab)));
        assert!(told.starts_with("\"web\"") && told.contains("no path to its network namespace"), "{told}");
        assert!(ran.stderr.contains(&told), "{feature}: a warning is wanted: {}", ran.report());
        // Whoever reaches it puts it right.
        lab.ctl(&["attach", "eth0"]).succeeded();
        assert_eq!(reason(&lab, feature), None);
    }
}

#[test]
fn a_passthru_child_whose_device_cannot_be_reached_is_told_of() {
    needs!(require::lab, require::tc, require::tcx, require::binary, unshare);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0"]).succeeded();
    let _tap = lab.child("tap", Mode::Passthru);
    // Netlink gives the child's namespace a number.
    lab.ctl(&["-j", "status", "eth0"]).succeeded();

    from_afar(&lab, &["attach", "eth0"]).succeeded();

    let told = reason(&lab, "passthru").or_fail(format!("find passthru in {}", status(&lab)));
    assert!(told.starts_with("\"tap\""), "{told}");
    lab.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!(reason(&lab, "passthru"), None);
}
