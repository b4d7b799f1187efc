//! `run` with a configuration: applied at the start and on SIGHUP, rules for children that come.

use std::{fs, path::PathBuf};

use macvlan_common::child::Mode;
use macvlan_tests::{
    control::{child, names_of, status},
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::Lab,
    needs, require,
    talk::{is_silent, ping},
};
use nix::sys::signal::Signal;

/// A configuration file that lives as long as the test.
struct File(PathBuf);

impl File {
    #[track_caller]
    fn new(name: &str, text: &str) -> Self {
        let file =
            Self(std::env::temp_dir().join(format!("macvlan-tests-{}-{name}.toml", std::process::id())));
        file.write(text);
        file
    }

    #[track_caller]
    fn write(&self, text: &str) {
        fs::write(&self.0, text).or_fail("write a configuration");
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // In a temporary directory: what cannot be removed is no harm.
        let _ = fs::remove_file(&self.0);
    }
}

const NO_HOST_FOR_GUESTS: &str = "[[master]]\nname = \"eth0\"\n\
    [[master.policy]]\nmatch = { name = \"guest*\" }\nhost-access = false\n";

#[track_caller]
fn host_access(lab: &Lab, name: &str) -> bool {
    child(&status(lab), name)["host_access"].as_bool().or_fail("read host_access")
}

#[test]
fn children_of_the_file_are_made_and_rules_hold_for_those_who_come() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let file = File::new(
        "come",
        &format!("{NO_HOST_FOR_GUESTS}[[master.child]]\nname = \"own\"\nmode = \"private\"\n"),
    );
    let run = Following::start(&lab, &["--config", file.path()]);
    assert_eq!(child(&status(&lab), "own")["owned"], true);
    let guest = lab.child("guest1", Mode::Bridge);
    let web = lab.child("web", Mode::Bridge);
    assert!(ping(&lab.host, web.ip.into()));
    wait_for("the guest in the map", || names_of(&status(&lab)).contains("guest1").then_some(()));
    assert!(!host_access(&lab, "guest1"));
    assert!(is_silent(&lab.host, guest.ip.into()));
    drop(run);
}

#[test]
fn a_rule_about_a_namespace_holds_for_a_child_that_comes_into_it() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let file = File::new(
        "where",
        "[[master]]\nname = \"eth0\"\n\
         [[master.policy]]\nmatch = { netns = \"dmz-*\" }\nhost-access = false\n",
    );
    let run = Following::start(&lab, &["--config", file.path()]);
    for round in 0..5 {
        let web = lab.newcomer(&format!("web{round}"));
        lab.mounts().name_netns(&format!("dmz-{round}"), &web.ns);
        lab.host.ns.ip(&format!(
            "link add {} link eth0 address {} netns {} type macvlan mode bridge",
            web.dev,
            web.mac,
            web.ns.path().display()
        ));
        wait_for("the rule", || {
            let status = status(&lab);
            let known = names_of(&status).contains(&web.dev);
            (known && child(&status, &web.dev)["host_access"] == false).then_some(())
        });
    }
    drop(run);
}

#[test]
fn sighup_reads_the_file_anew_and_a_mistake_in_it_changes_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let guest = lab.child("guest", Mode::Bridge);
    let file = File::new("anew", "[[master]]\nname = \"eth0\"\n");
    let run = Following::start(&lab, &["--config", file.path()]);
    assert!(ping(&lab.host, guest.ip.into()));

    file.write("[[master]]\nname = \"eth0\"\nmodee = 1\n");
    run.signal(Signal::SIGHUP);
    run.wait_for_word("RELOADING=1");
    run.wait_for_word("READY=1");
    let line = run.wait_for_line("the configuration stays as it was");
    assert!(line.contains(":3: unknown key \"modee\""), "{line}");
    assert!(host_access(&lab, "guest"));

    file.write(NO_HOST_FOR_GUESTS);
    run.signal(Signal::SIGHUP);
    wait_for("the new rule", || (!host_access(&lab, "guest")).then_some(()));
    assert!(is_silent(&lab.host, guest.ip.into()));

    file.write("[[master]]\nname = \"eth0\"\n[[master.child]]\nname = \"late\"\n");
    run.signal(Signal::SIGHUP);
    wait_for("the new child", || names_of(&status(&lab)).contains("late").then_some(()));

    // Making one elsewhere takes a right that was given up, as nobody had asked for that at first.
    let away = lab.newcomer("away");
    let path = away.ns.path();
    file.write(&format!(
        "[[master]]\nname = \"eth0\"\n[[master.child]]\nname = \"away\"\nnetns = \"{}\"\n",
        path.display()
    ));
    run.signal(Signal::SIGHUP);
    run.wait_for_line("after a restart only");
    assert_eq!(status(&lab)["datapath"], "bpf", "what was attached goes on");
}

#[test]
fn children_in_other_namespaces_are_made_by_a_run_that_was_asked_for_them_at_first() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let away = lab.newcomer("away");
    let config = |mac: &str| {
        format!(
            "[[master]]\nname = \"eth0\"\n[[master.child]]\nname = \"away\"\nmac = \"{mac}\"\n\
             netns = \"{}\"\nip = [\"{}/24\"]\n",
            away.ns.path().display(),
            away.ip
        )
    };
    let file = File::new("away", &config("02:00:00:00:04:01"));
    let run = Following::start(&lab, &["--config", file.path()]);
    assert!(ping(&lab.host, away.ip.into()));
    file.write(&config("02:00:00:00:04:02"));
    run.signal(Signal::SIGHUP);
    wait_for("its new MAC", || {
        let status = status(&lab);
        let known = names_of(&status).contains("away");
        (known && child(&status, "away")["address"] == "02:00:00:00:04:02").then_some(())
    });
}

#[test]
fn sighup_takes_masters_up_and_lets_them_go() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    lab.host.ns.ip_batch(["link add lan0 type veth peer name port1", "link set lan0 up"].map(String::from));
    let file = File::new("masters", "[[master]]\nname = \"eth0\"\n");
    let run = Following::start(&lab, &["--config", file.path()]);
    let datapath = |master: &str| {
        lab.ctl(&["-j", "status", master]).succeeded().json()[0]["datapath"].as_str().unwrap_or("").to_owned()
    };
    file.write("[[master]]\nname = \"lan0\"\n");
    run.signal(Signal::SIGHUP);
    run.wait_for_line("eth0: followed no more; its data path stays");
    run.wait_for_line("lan0: attached");
    assert_eq!((datapath("eth0"), datapath("lan0")), ("bpf".into(), "bpf".into()));
    let late = lab.child("late", Mode::Bridge);
    assert!(is_silent(&lab.host, late.ip.into()), "nobody follows eth0 any more");
}

#[test]
fn what_the_file_asks_for_and_cannot_be_is_said_at_once() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let file =
        File::new("wrong", "[[master]]\nname = \"eth0\"\n[[master.child]]\nname = \"web\"\nmtu = 9000\n");
    let ran = lab.ctl(&["run", "--config", file.path()]);
    assert!(ran.failed(1).contains("MTU 9000 is above the 1500 of \"eth0\""), "{}", ran.report());
    assert!(lab.ctl(&["run", "--config", "/nowhere.toml"]).failed(1).contains("/nowhere.toml"));
    assert!(lab.ctl(&["run", "eth0", "eth0"]).failed(1).contains("cannot follow \"eth0\" twice"));
}
