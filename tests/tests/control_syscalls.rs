//! What bringing the maps in step costs when there is nothing to do.

use std::{fs, process::Stdio};

use macvlan_tests::{cli, fail::OrFail as _, lab::Lab, needs, require};

/// Children on the master.
const CHILDREN: usize = 100;

/// Calls of bpf(2) that an attach may make which changes nothing, whatever the number of children: it opens
/// maps and links by their pins, reads each map at once, and remembers all of it for the way back.
const MOST_CALLS: usize = 200;

fn strace() -> Result<(), String> {
    require::program("strace")
}

#[test]
fn an_attach_with_nothing_to_do_makes_few_calls_however_many_children_there_are() {
    needs!(require::lab, require::tc, require::binary, strace);
    let lab = Lab::new();
    let make =
        (0..CHILDREN).map(|number| format!("link add link eth0 name c{number} type macvlan mode bridge"));
    lab.host.ns.ip_batch(make);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let trace = std::env::temp_dir().join(format!("macvlan-tests-strace-{}", std::process::id()));
    let mut command = lab.command(&lab.host.ns, "strace");
    command.args(["-f", "-e", "trace=bpf", "-o"]).arg(&trace).arg(cli::binary()).args(["attach", "eth0"]);

    cli::output(command.stdin(Stdio::null())).succeeded();

    let text = fs::read_to_string(&trace).or_fail("read what strace saw");
    fs::remove_file(&trace).or_fail("remove what strace saw");
    let calls = text.lines().filter(|line| line.contains("bpf(BPF_")).count();
    assert!((1..=MOST_CALLS).contains(&calls), "{calls} calls");
    let lookups = text.lines().filter(|line| line.contains("BPF_MAP_LOOKUP_ELEM")).count();
    assert!(lookups < CHILDREN / 2, "{lookups} single look-ups");
}
