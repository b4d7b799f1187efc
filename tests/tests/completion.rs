//! What a shell completes, asked as the shells' own scripts ask.

use std::process::Command;

use macvlan_common::child::Mode;
use macvlan_tests::{cli, fail::OrFail as _, lab::Lab, needs, require};

#[test]
fn bash_completes_commands_by_the_script_of_the_package() {
    needs!(require::binary);
    let binary = cli::binary();
    let script = cli::run(Command::new(&binary).args(["generate", "completions", "bash"]));
    // As bash does when somebody types "macvlan-ctl det" and a tabulator.
    let ask = "COMP_WORDS=(macvlan-ctl det); COMP_CWORD=1; COMP_TYPE=9; known=$(complete -p macvlan-ctl); \
               known=${known#*-F }; \"${known%% *}\" macvlan-ctl det macvlan-ctl; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-ec", &format!("{script}\n{ask}")]);
    let place = binary.parent().or_fail("tell the program's directory");
    let path = std::env::var("PATH").or_fail("read PATH");
    let ran = cli::output(bash.env("PATH", format!("{}:{path}", place.display()))).succeeded();
    assert_eq!(ran.stdout.trim(), "detach", "{}", ran.report());
    for shell in ["zsh", "fish"] {
        let script = cli::run(Command::new(&binary).args(["generate", "completions", shell]));
        assert!(script.contains("COMPLETE"), "{shell}: {script}");
    }
}

/// The texts that a line of these words can be completed to, the last word being the one that is typed.
fn completions(lab: &Lab, words: &[&str]) -> Vec<String> {
    let binary = cli::binary();
    let mut command = lab.command(&lab.host.ns, &binary);
    command.env("COMPLETE", "fish").arg("--").arg(&binary).args(words);
    let ran = cli::output(&mut command).succeeded();
    let texts = ran.stdout.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned());
    texts.filter(|text| !text.starts_with('-')).collect()
}

#[test]
fn devices_children_groups_and_settings_are_completed_as_they_are_there() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--child", "db,new-group=red"]).succeeded();

    for command in ["attach", "detach", "status", "stats", "trace", "run"] {
        let masters = completions(&lab, &[command, "et"]);
        assert_eq!(masters, ["eth0"], "{command}");
    }
    let mut children = completions(&lab, &["child", "set", "eth0", ""]);
    children.retain(|name| name != lab.host.dev.as_str());
    assert!(["web", "db"].iter().all(|name| children.iter().any(|child| child == name)), "{children:?}");
    assert_eq!(completions(&lab, &["child", "del", "eth0", "we"]), ["web"]);
    assert_eq!(completions(&lab, &["trace", "eth0", "--child", "d"]), ["db"]);
    assert_eq!(completions(&lab, &["child", "set", "eth0", "web,anti"]), ["web,anti-spoof="]);
    assert_eq!(completions(&lab, &["child", "set", "eth0", "web,group=r"]), ["web,group=red"]);
    assert!(completions(&lab, &["child", "add", "eth0", "we"]).is_empty(), "a new child's name is new");
}

#[test]
fn what_is_in_the_namespace_of_the_line_is_completed() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    let binary = cli::binary();
    let asked = |netns: &str| {
        // From the wire's namespace, where there is no such device.
        let mut command = lab.command(&lab.wire.ns, &binary);
        command.env("COMPLETE", "fish").arg("--").arg(&binary);
        cli::output(command.args(["-n", netns, "child", "del", "eth0", "we"])).succeeded().stdout
    };
    let host = lab.host.ns.path();
    assert_eq!(
        asked(&host.display().to_string()).lines().next().and_then(|line| line.split('\t').next()),
        Some("web")
    );
    assert_eq!(asked("/nowhere"), "");
}
