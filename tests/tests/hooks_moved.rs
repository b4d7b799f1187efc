//! A master that goes to another network namespace with our programs on, and programs that no pin leads to: they
//! are known by what they are, wherever the master went.

use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use macvlan_common::child::Mode;
use macvlan_tests::{
    cli::{self, Ran},
    fail::{OrFail as _, wait_for},
    following::Following,
    frames::{Marker, marked},
    lab::{Lab, Station},
    leak::{Traces, pins},
    needs, require,
    sniff::{Injector, Tap},
    talk::{ping_within, reach_each_other},
};
use serde_json::Value;

const SHORT: Duration = Duration::from_secs(1);

/// What goes along with the device, by the options of `attach`: TCX and XDP links do, a qdisc with its filters
/// does not.
const MEANS: [(&[&str], Along); 4] = [
    (&["--tc", "tcx", "--xdp", "off"], Along::All),
    (&["--tc", "tcx", "--xdp", "native"], Along::All),
    (&["--tc", "clsact", "--xdp", "off"], Along::Nothing),
    (&["--tc", "clsact", "--xdp", "generic"], Along::Rest),
];

/// What goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    /// The whole data path.
    All,
    /// The demultiplexer alone.
    Rest,
    /// Nothing.
    Nothing,
}

/// A lab whose master has gone to `new`, a namespace of its own, with what was attached to it.
struct Moved {
    lab: Lab,
    web: Station,
    new: Station,
}

impl Moved {
    #[track_caller]
    fn new(args: &[&str]) -> Self {
        let lab = Lab::new();
        let web = lab.child("web", Mode::Bridge);
        // A way there for who looks from a namespace that has no number for it.
        lab.mounts().name_netns("web", &web.ns);
        lab.ctl(&[&["attach", "eth0", "--require-bpf", "--storm-limit", "5000"], args].concat()).succeeded();
        assert!(ping_within(&lab.host, web.ip.into(), SHORT));
        let new = move_master(&lab, &web);
        Self { lab, web, new }
    }

    /// Runs a command in the master's new namespace.
    #[track_caller]
    fn ctl(&self, args: &[&str]) -> Ran {
        let mut command = self.lab.command(&self.new.ns, cli::binary());
        cli::output(command.args(args))
    }

    #[track_caller]
    fn status(&self) -> Value {
        self.ctl(&["-j", "status", "eth0"]).succeeded().json()[0].clone()
    }

    fn talks(&self) -> bool {
        reach_each_other(&self.new, &self.web)
    }
}

/// Moves the master, with the host's MAC and address, to a namespace of its own.
#[track_caller]
fn move_master(lab: &Lab, web: &Station) -> Station {
    let mut new = lab.newcomer("eth0");
    (new.mac, new.ip) = (lab.host.mac, lab.host.ip);
    lab.host.ns.ip(&format!("link set eth0 netns {}", new.ns.path().display()));
    new.ns.ip(&format!("addr add {}/24 dev eth0", new.ip));
    new.ns.ip("link set eth0 up");
    web.ns.ip("link set web up");
    new
}

/// What is on the hooks of the master, by the words of others.
#[track_caller]
fn hooks(lab: &Lab, new: &Station) -> String {
    let mut net = lab.command(&new.ns, "bpftool");
    let programs = cli::run(net.args(["-j", "net", "show", "dev", "eth0"]));
    let filters = cli::run(new.ns.command("tc").args(["filter", "show", "dev", "eth0", "egress"]));
    let tcx = new.ns.enter(|| {
        [TcAttachType::Ingress, TcAttachType::Egress]
            .map(|side| SchedClassifier::query_tcx("eth0", side).map_or(0, |(_, programs)| programs.len()))
    });
    let empty = r#"[{"xdp":[],"tc":[],"flow_dissector":[]}]"#;
    format!("{}{filters}{tcx:?}", programs.trim().replace(empty, ""))
}

/// Where sockets are asked, those of the namespace that the master was in are the host's until the next attach.
#[test]
fn packet_sockets_of_the_new_namespace_are_the_hosts_once_it_is_attached_to_there() {
    needs!(require::lab, require::tcx, require::binary, require::telling_sockets);
    let lab = Lab::new();
    lab.mounts().hide("/sys/kernel/btf");
    let web = lab.child("web", Mode::Bridge);
    lab.mounts().name_netns("web", &web.ns);
    lab.ctl(&["attach", "eth0", "--require-bpf", "--isolation", "strict"]).succeeded();
    let moved = Moved { new: move_master(&lab, &web), lab, web };
    let mut tap = Tap::on_device(&moved.lab.wire.ns, &moved.lab.port);
    let mut send = |station: &Station| {
        let marker = Marker::new();
        let sender = Injector::new(&station.ns, &station.dev);
        sender.send(&marked(moved.lab.wire.mac, moved.new.mac, marker));
        tap.came_in(marker)
    };
    assert_eq!(send(&moved.new), 0);
    assert!(moved.talks(), "other sockets");
    let degraded = moved.status()["degraded"].to_string();
    assert!(
        degraded.contains("packet sockets of another network namespace count as the host's"),
        "{degraded}"
    );
    moved.ctl(&["attach", "eth0"]).succeeded();
    assert_eq!((send(&moved.new), send(&moved.web)), (1, 0));
    let degraded = moved.status()["degraded"].to_string();
    assert!(!degraded.contains("of another network namespace"), "{degraded}");
    moved.ctl(&["detach", "eth0"]).succeeded();
}

#[test]
fn what_came_with_the_master_is_told_of_as_ours() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    for (args, along) in MEANS {
        let moved = Moved::new(args);
        let told = moved.status();
        let listed = moved.ctl(&["-j", "status"]).succeeded().json();
        assert!(along == Along::Nothing || listed[0]["ifname"] == "eth0", "{args:?}: {listed}");
        let doctor = moved.ctl(&["-j", "doctor", "eth0"]).json();
        let found = |check: &str| {
            let all = doctor.as_array().or_fail("read findings");
            all.iter().find(|found| found["check"] == check).or_fail(check).clone()
        };
        for check in ["foreign-tcx", "foreign-xdp", "foreign-clsact"] {
            assert_eq!(found(check)["status"], "ok", "{args:?}: {}", found(check));
        }
        let reason = "it came from another network namespace";
        let degraded = told["degraded"].to_string();
        match along {
            Along::All => {
                assert_eq!((&told["datapath"], &told["storm_limit"]), (&"bpf".into(), &5000.into()));
                assert!(
                    degraded.contains(reason) && degraded.contains("macvlan-ctl attach eth0"),
                    "{degraded}"
                );
                assert!(moved.talks(), "{args:?}: the programs work on");
                assert_eq!(found("data-path-pins")["status"], "warning");
            }
            Along::Rest => assert!(told["datapath"] == "kernel" && degraded.contains(reason), "{degraded}"),
            Along::Nothing => {
                assert!(told["datapath"] == "kernel" && !degraded.contains(reason), "{degraded}");
            }
        }
        // Where it came from, it is missed.
        let left = moved.lab.ctl(&["-j", "doctor"]).json();
        let is_told =
            left.as_array().or_fail("read findings").iter().any(|found| found["check"] == "departed");
        assert_eq!(is_told, along != Along::Nothing, "{args:?}");
    }
}

#[test]
fn attach_takes_over_what_came_with_the_master() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    for (args, along) in MEANS {
        let moved = Moved::new(args);
        let counted = || {
            let stats = moved.ctl(&["-j", "stats", "eth0"]).succeeded().json();
            stats[0]["children"][0]["host"]["rx"]["packets"].as_u64().or_fail("read a counter")
        };
        let before = (along == Along::All).then(counted);

        moved.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();

        let told = moved.status();
        assert!(moved.talks(), "{args:?}");
        assert_eq!(told["datapath"], "bpf", "{args:?}: {told:#}");
        assert!(!told["degraded"].to_string().contains("namespace"), "{args:?}: {told:#}");
        if let Some(before) = before {
            assert!(before > 0 && counted() > before, "{args:?}: the counters are kept");
            assert_eq!(told["storm_limit"], 5000, "{args:?}: the settings are kept");
        }
        moved.ctl(&["detach", "eth0"]).succeeded();
        check_bare(&moved, args);
    }
}

#[test]
fn detach_takes_off_what_came_with_the_master() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    for (args, _) in MEANS {
        let moved = Moved::new(args);
        moved.ctl(&["detach", "eth0"]).succeeded();
        check_bare(&moved, args);
        assert!(!moved.talks(), "{args:?}: plain macvlan");
    }
}

#[test]
fn run_takes_its_programs_off_a_master_that_leaves() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    let lab = Lab::new();
    let following = Following::start(&lab, &["eth0", "--require-bpf", "--xdp", "native"]);
    let web = lab.child("web", Mode::Bridge);
    let new = move_master(&lab, &web);
    wait_for("bare hooks", || (hooks(&lab, &new) == "[0, 0]").then_some(()));
    following.wait_for_line("eth0: waiting: no such device");
}

#[test]
fn another_master_under_the_old_index_is_not_taken_for_the_one_that_left() {
    needs!(require::lab, require::tc, require::tcx, require::bpftool, require::binary);
    let moved = Moved::new(&["--tc", "tcx"]);
    let index = moved.new.ns.ifindex("eth0");
    moved.lab.host.ns.ip(&format!("link add eth1 index {index} up type veth peer name wire1"));
    let told = moved.lab.ctl(&["-j", "status", "eth1"]).succeeded().json();
    assert_eq!(told[0]["datapath"], "kernel");
    moved.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    moved.lab.ctl(&["attach", "eth1", "--require-bpf"]).succeeded();
    assert!(moved.talks());
    moved.lab.ctl(&["detach", "eth1"]).succeeded();
    assert!(moved.talks(), "each has its own");
    moved.ctl(&["detach", "eth0"]).succeeded();
    check_bare(&moved, &[]);
}

#[test]
fn filters_that_outlived_their_pins_are_replaced_or_taken_off() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    cli::run(lab.host.ns.command("tc").args(["qdisc", "add", "dev", "eth0", "clsact"]));
    let before = Traces::of(&lab);
    for replaces in [true, false] {
        lab.ctl(&["attach", "eth0", "--require-bpf", "--tc", "clsact"]).succeeded();
        lab.mounts().without_bpffs();
        let told = lab.ctl(&["-j", "status", "eth0"]).succeeded().json();
        assert_eq!(told[0]["datapath"], "kernel");
        let degraded = told[0]["degraded"].to_string();
        assert!(degraded.contains("nothing is pinned"), "{degraded}");
        if replaces {
            lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
            assert!(ping_within(&lab.host, web.ip.into(), SHORT));
        }
        lab.ctl(&["detach", "eth0"]).succeeded();
        let after = Traces::of(&lab);
        let same = |traces: &Traces| (traces.qdiscs.clone(), traces.filters.clone(), traces.tcx.clone());
        assert_eq!(same(&after), same(&before));
    }
}

/// Nothing of ours is left.
#[track_caller]
fn check_bare(moved: &Moved, args: &[&str]) {
    assert_eq!(hooks(&moved.lab, &moved.new), "[0, 0]", "{args:?}");
    let pins = pins(&moved.lab);
    assert!(!pins.iter().any(|pin| pin.starts_with("/sys/fs/bpf/macvlan-ctl")), "{args:?}: {pins:?}");
}
