//! `bench`: its report from end to end, what it refuses, what it leaves behind; and its figures beside
//! those of iperf3 on the same path.

mod agreement;
mod iperf3;
mod real;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use macvlan_tests::{
    cli,
    fail::{OrFail as _, wait_for},
    mounts::Mounts,
    needs, require,
};
use serde_json::Value;

/// Longer than a quick run takes on the slowest machine.
const LONG: Duration = Duration::from_secs(240);

/// Who takes part in a whole run.
const CONTENDERS: &str = "tc,macvlan,bridge,routed,ipvlan,xdp-drop";

/// Measurements of two tests at once would be of each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory of the test's own, with all in it gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("macvlan-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).or_fail("make a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is in a directory for what may be left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `bench` in these mounts, which show what stays behind.
fn bench(mounts: &Mounts, args: &[&str]) -> Command {
    let mut command = Command::new(cli::binary());
    mounts.put_inside(&mut command);
    command.arg("-j").arg("bench").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run might leave in the mounts.
fn left_behind(mounts: &Mounts) -> Vec<PathBuf> {
    mounts.enter(|| {
        let ours = ["/sys/fs/bpf/macvlan-ctl", "/run/macvlan-ctl", "/run/netns"].map(PathBuf::from);
        ours.into_iter().filter(|path| path.exists()).collect()
    })
}

#[test]
fn a_quick_run_reports_every_figure_and_leaves_nothing_behind() {
    needs!(require::lab, require::binary);
    let _alone = alone();
    let scratch = Scratch::new("report");
    let [html, svg] = ["report.html", "charts"].map(|name| scratch.0.join(name).display().to_string());
    let mounts = Mounts::new();
    let start = Instant::now();
    let args = ["--quick", "--only", CONTENDERS, "--html", &html, "--svg", &svg];
    let output = bench(&mounts, &args).output().or_fail("run bench");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no bar in a pipe");
    assert!(start.elapsed() < LONG);
    assert_eq!(left_behind(&mounts), Vec::<PathBuf>::new());

    let report: Value = serde_json::from_slice(&output.stdout).or_fail("read JSON");
    assert_eq!(report["failures"], Value::Array(Vec::new()), "{:#}", report["failures"]);
    assert_eq!(report["rounds"], 5);
    assert_eq!(report["machine"]["driver"], "veth");
    check_contenders(&report);
    check_figures(&report);
    check_files(&report, Path::new(&html), Path::new(&svg));
}

/// Who took part, and why the others did not: what this kernel has not got, and nothing else.
fn check_contenders(report: &Value) {
    for contender in report["contenders"].as_array().or_fail("read the contenders") {
        match (contender["name"].as_str(), require::ipvlan()) {
            (Some("ipvlan"), Err(_)) => {
                let told = contender["missing"].as_str();
                assert!(told.is_some_and(|told| told.starts_with("cannot make an ipvlan")), "{contender}");
            }
            _ => assert_eq!(contender["missing"], Value::Null, "{contender}"),
        }
    }
}

/// Every figure is a median between its least and most round, and compared where it can be.
fn check_figures(report: &Value) {
    let figures = report["figures"].as_array().or_fail("read the figures");
    for figure in figures {
        let number = |name: &str| figure[name].as_f64().or_fail(format!("read {name} of {figure}"));
        assert!(number("least") <= number("median") && number("median") <= number("most"), "{figure}");
        assert!(figure["rounds"].as_array().is_some_and(|rounds| rounds.len() >= 5), "{figure}");
        if !figure["workload"].as_str().is_some_and(|name| name.ends_with("-lost")) {
            assert!(number("least") > 0.0, "{figure}");
        }
    }
    let of = |workload: &str, path: Value, contender: &str| {
        let found = figures.iter().find(|figure| {
            figure["workload"] == workload && figure["path"] == path && figure["contender"] == contender
        });
        found.or_fail(format!("find {workload} of {contender}"))
    };
    for workload in ["tcp-stream-1", "tcp-stream-1-one-cpu", "tcp-rr", "tcp-rr-p99", "tcp-rr-p999", "udp-64"]
    {
        let ours = of(workload, "host-child".into(), "tc");
        assert!(ours["ratios"]["bridge"]["median"].is_f64(), "{ours}");
        assert!(ours["ratios"]["macvlan"].is_null(), "plain macvlan keeps host and child apart: {ours}");
        let ours = of(workload, "wire-child".into(), "tc");
        assert!(ours["ratios"]["macvlan"]["median"].is_f64(), "{ours}");
    }
    for workload in ["frames", "frame-cpu", "flood-goodput"] {
        of(workload, "wire-child".into(), "macvlan");
    }
    // One context of the kernel sends and receives: whoever loses most of it forwards something else.
    for contender in ["tc", "macvlan", "bridge", "routed"] {
        let lost = of("frames-lost", "wire-child".into(), contender)["median"].as_f64();
        assert!(lost.is_some_and(|lost| lost < 0.5), "{contender} loses {lost:?}");
    }
    // By far, whatever else the machine does: one returns at once, the other asks a table twice.
    let drops = of("flood", Value::Null, "bridge")["ratios"]["xdp-drop"]["median"].as_f64();
    assert!(drops.is_some_and(|ratio| ratio < 0.8), "a bridge absorbs {drops:?} of a bare XDP_DROP");
}

/// A file for each chart, and all of them in the page.
fn check_files(report: &Value, html: &Path, svg: &Path) {
    let page = fs::read_to_string(html).or_fail("read the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    let command = report["command"].as_str().or_fail("read the command");
    assert!(command.contains(&format!("bench --quick --only {CONTENDERS} --html")), "{command}");
    let charts: Vec<PathBuf> = fs::read_dir(svg)
        .or_fail("list the charts")
        .map(|entry| entry.or_fail("list the charts").path())
        .collect();
    assert!(charts.len() >= 13, "{charts:?}");
    for chart in charts {
        let text = fs::read_to_string(&chart).or_fail("read a chart");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>"), "{}", chart.display());
        assert!(page.contains(&text), "{} is not in the page", chart.display());
    }
}

#[test]
fn what_is_there_is_not_touched() {
    needs!(require::lab, require::binary);
    let scratch = Scratch::new("clash");
    let file = scratch.0.join("there");
    fs::write(&file, "before").or_fail("write a file");
    let [there, directory, absent] =
        [file.clone(), scratch.0.clone(), scratch.0.join("no/such")].map(|path| path.display().to_string());
    let mounts = Mounts::new();
    let refusals: [(&[&str], &str); 4] = [
        (&["--html", &there], "is there already"),
        (&["--svg", &directory], "is not empty"),
        (&["--html", &absent], "cannot open directory"),
        (&["--only", "tc,nobody"], "no contender \"nobody\""),
    ];
    for (args, reason) in refusals {
        let ran = cli::output(&mut bench(&mounts, args));
        assert!(ran.failed(1).contains(reason), "{}", ran.report());
    }
    assert_eq!(fs::read_to_string(&file).or_fail("read a file"), "before");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    needs!(require::lab, require::binary);
    let _alone = alone();
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let mounts = Mounts::new();
        let mut running = bench(&mounts, &["--only", "tc,macvlan"]).spawn().or_fail("run bench");
        let process = running.id();
        wait_for("bench to attach", || is_attached(process).then_some(()));
        // SAFETY: signals no process but the one that was just started and not yet waited for.
        assert_eq!(unsafe { libc::kill(process as i32, signal) }, 0);
        let status = running.wait().or_fail("wait for bench");
        assert!(!status.success(), "{status}");
        assert_eq!(left_behind(&mounts), Vec::<PathBuf>::new(), "after signal {signal}");
        assert!(!Path::new(&format!("/proc/{process}/ns/net")).exists());
    }
}

/// Whether a run has pins, in mounts that nobody else sees.
fn is_attached(process: u32) -> bool {
    let pins = format!("/proc/{process}/root/sys/fs/bpf/macvlan-ctl");
    fs::read_dir(pins).is_ok_and(|mut entries| entries.next().is_some())
}
