//! What bringing the maps in step costs when there is nothing to do.

use std::{fs, path::PathBuf, process::Stdio};

use macvlan_tests::{
    cli,
    fail::{OrFail as _, wait_for},
    following::Following,
    lab::Lab,
    needs, require,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Children on the master.
const CHILDREN: usize = 100;

/// Calls of bpf(2) that an attach may make which changes nothing, whatever the number of children: aya looks what
/// the kernel can do, maps and links are opened by their pins and looked at, and each map is read at once.
const MOST_CALLS: usize = 120;

/// Calls of bpf(2) and requests to netlink of a sync by `run` that changes nothing: of the former two for each
/// map and link, to open it, and one to read each map that it compares.
const MOST_CALLS_OF_A_SYNC: usize = 85;

fn strace() -> Result<(), String> {
    require::program("strace")
}

/// Where strace writes to.
fn trace_file(of: &str) -> PathBuf {
    std::env::temp_dir().join(format!("macvlan-tests-strace-{of}-{}", std::process::id()))
}

fn with_children() -> Lab {
    let lab = Lab::new();
    let make =
        (0..CHILDREN).map(|number| format!("link add link eth0 name c{number} type macvlan mode bridge"));
    lab.host.ns.ip_batch(make);
    lab
}

#[test]
fn an_attach_with_nothing_to_do_makes_few_calls_however_many_children_there_are() {
    needs!(require::lab, require::tc, require::binary, strace);
    let lab = with_children();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let trace = trace_file("attach");
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

#[test]
fn a_sync_with_nothing_to_do_makes_few_calls_however_many_children_there_are() {
    needs!(require::lab, require::tc, require::binary, strace);
    const SYNCS: usize = 2;
    let lab = with_children();
    let following = Following::start(&lab, &["eth0"]);
    let trace = trace_file("run");
    let mut command = lab.command(&lab.host.ns, "strace");
    command.args(["-f", "-ttt", "-e", "trace=bpf,sendto", "-o"]).arg(&trace);
    command.args(["-p", &following.pid().to_string()]);
    let mut strace = command.stderr(Stdio::null()).spawn().or_fail("run strace");
    // It writes as soon as it is attached: the service manager is told every 200 ms that all is well.
    wait_for("strace", || fs::metadata(&trace).is_ok_and(|file| file.len() > 0).then_some(()));

    let seen = || fs::read_to_string(&trace).or_fail("read what strace saw");
    // It looks every five seconds.
    wait_for("syncs", || (bursts(&seen()).len() > SYNCS).then_some(()));
    // The first one may have been under way when strace came, the last one may not be over.
    let syncs = bursts(&seen());
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT).or_fail("stop strace");
    strace.wait().or_fail("wait for strace");
    fs::remove_file(&trace).or_fail("remove what strace saw");
    let most = syncs[1..SYNCS].iter().max().copied().unwrap_or_default();
    println!("calls of syncs: {syncs:?}");
    assert!((1..=MOST_CALLS_OF_A_SYNC).contains(&most), "calls of syncs: {syncs:?}");
}

/// Calls of bpf(2) and requests to netlink that follow each other without a pause, burst by burst.
fn bursts(trace: &str) -> Vec<usize> {
    const PAUSE: f64 = 0.3;
    let (mut bursts, mut last) = (Vec::new(), 0.0);
    for line in trace.lines().filter(|line| line.contains("bpf(BPF_") || line.contains("{nlmsg_len=")) {
        let time: f64 =
            line.split_whitespace().nth(1).and_then(|time| time.parse().ok()).or_fail("read a time");
        if time - last > PAUSE {
            bursts.push(0);
        }
        last = time;
        *bursts.last_mut().or_fail("count a call") += 1;
    }
    bursts
}
