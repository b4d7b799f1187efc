//! What a newcomer types first, as README.md says it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use macvlan_tests::{
    cli::{self, workspace},
    engine::Engine,
    fail::OrFail as _,
    lab::Lab,
    needs, require,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// There are two programs: which one `cargo run` is to run, the package says.
#[test]
fn the_first_command_of_the_readme_finds_its_program() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).or_fail(format!("read {path}"));
    let has = |text: &str, wanted: &str| text.lines().any(|line| line == wanted);
    assert!(has(&read("README.md"), "cargo run --release -p macvlan-ctl -- demo"));
    assert!(has(&read("macvlan-ctl/Cargo.toml"), "default-run = \"macvlan-ctl\""));
}

/// The command lines in the blocks of README.md from `first` on, up to the one that is `last`: each with what it says
/// of itself behind `#`.
fn lines(first: &str, last: &str) -> Vec<(String, String)> {
    let readme = fs::read_to_string(workspace().join("README.md")).or_fail("read README.md");
    let blocks = readme.split("```").skip(1).step_by(2);
    let whole = blocks.map(|block| block.replace("\\\n", " ")).collect::<String>();
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in whole.lines().map(str::trim).filter(|line| !line.is_empty()).skip_while(|line| *line != first)
    {
        let (command, remark) = line.split_once(" #").unwrap_or((line, ""));
        let words: Vec<&str> = command.split_whitespace().collect();
        commands.push((words.join(" "), remark.trim().to_owned()));
        if line == last {
            return commands;
        }
    }
    panic!("README.md has no {first:?} with a {last:?} after it");
}

/// Those that show something until somebody stops them.
fn goes_on(command: &str) -> bool {
    ["macvlan-ctl run", "macvlan-ctl top", "macvlan-ctl monitor", "macvlan-ctl trace"]
        .iter()
        .any(|begin| command.starts_with(begin))
        || command.contains("--watch")
}

/// What needs another system than this one, a choice between options in brackets, or a file or a device of the
/// reader's own.
fn is_for_reading(command: &str) -> bool {
    let of_reader = ["macvlan-ctl check", "macvlan-ctl run"].contains(&command) || command.contains("wlan0");
    command.starts_with("systemctl") || command.contains('[') || of_reader
}

/// `top` draws on a terminal alone.
fn on_terminal(command: &str) -> String {
    if command.starts_with("macvlan-ctl top") {
        return format!("script --quiet --return --command '{command}' /dev/null");
    }
    command.to_owned()
}

/// Starts a command, and asserts that it still runs after a while.
#[track_caller]
fn starts_and_goes_on(mut command: Command, line: &str) {
    const WHILE: Duration = Duration::from_millis(700);
    let mut child = command
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .or_fail(format!("run {line}"));
    thread::sleep(WHILE);
    let ended = child.try_wait().or_fail("wait");
    let group = Pid::from_raw(child.id().try_into().or_fail("tell a process id"));
    // One that has ended is gone already.
    let _ = killpg(group, Signal::SIGTERM);
    let output = child.wait_with_output().or_fail("wait");
    assert!(ended.is_none(), "{line}: {ended:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// From the first network of a real Docker to `detach`, line by line.
#[test]
fn what_the_readme_says_works_with_docker_as_it_is_written() {
    needs!(require::lab, require::binary, require::docker, script);
    let lab = Lab::new();
    lab.host.ns.ip("addr add 192.168.1.10/24 dev eth0");
    lab.wire.ns.ip(&format!("addr add 192.168.1.1/24 dev {}", lab.wire.dev));
    let engine = Engine::docker_with("nginx", &lab);
    for netns in ["shop", "db", "cache", "dns"] {
        cli::output(&mut engine.shell(&format!("ip netns add {netns}"))).succeeded();
    }
    let commands = lines(
        "docker network create -d macvlan -o parent=eth0 --subnet 192.168.1.0/24 --gateway 192.168.1.1 lan",
        "macvlan-ctl detach eth0 [--delete-children]",
    );
    assert!(commands.len() > 20, "{commands:?}");
    for (command, remark) in &commands {
        if is_for_reading(command) {
            continue;
        }
        if goes_on(command) {
            starts_and_goes_on(engine.shell(&on_terminal(command)), command);
            continue;
        }
        let ran = cli::output(&mut engine.shell(command));
        let is_lost = remark.starts_with("lost");
        assert_eq!(ran.status.success(), !is_lost, "{remark}: {}", ran.report());
    }
    let forgotten = cli::output(&mut engine.shell("macvlan-ctl detach eth0 --delete-children")).succeeded();
    assert!(
        forgotten.stdout.contains("forgotten") || forgotten.stderr.contains("forgot"),
        "{}",
        forgotten.report()
    );
}

fn script() -> Result<(), String> {
    require::program("script")
}
