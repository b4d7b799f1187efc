//! Every step of a command fails in its turn, and everything is as before: links, addresses, routes,
//! neighbours, qdiscs, programs, pins, maps.
//!
//! All steps with `MACVLAN_TESTS_STRIDE=1`, every fifth without.

use std::{cell::Cell, fs};

use macvlan_common::child::Mode;
use macvlan_tests::{
    cli,
    control::{make_older, named, spec, status},
    deny,
    fail::{OrFail as _, wait_for},
    foreign::{Foreign, Order, Place},
    lab::{Lab, Station},
    needs, require,
    snapshot::Snapshot,
    talk::reach_each_other,
};

/// Keeps a child to its MAC, by a program on its own device.
const HELD: &str = "anti-spoof=mac";

/// In the lab's own `/run`.
const FILE: &str = "/run/macvlan-ctl.toml";

/// No command has so many steps.
const MOST: usize = 2000;

/// Every so many steps: `MACVLAN_TESTS_STRIDE`, or 5. All of them take minutes.
fn stride() -> usize {
    let wanted = std::env::var("MACVLAN_TESTS_STRIDE").ok();
    wanted.map_or(5, |stride| stride.parse().or_fail("read MACVLAN_TESTS_STRIDE"))
}

#[test]
fn an_attach_that_fails_leaves_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    for tc in ["tcx", "clsact"] {
        let case = Case::new();
        case.fail_each_step(|| {}, &case.attach(&["--tc", tc, "--require-bpf"]));
    }
}

#[test]
fn an_attach_over_another_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let options = ["--storm-limit", "500", "--no-directed-neigh", "--drop-unknown=force"];
    for (tc, xdp) in [("tcx", "native"), ("clsact", "generic")] {
        let case = Case::new();
        let first = ["attach", "eth0", "--tc", tc, "--storm-limit", "1000", "--child", &case.far_spec()];
        let prepare = || {
            case.ctl(&first);
            case.ctl(&["child", "set", "eth0", &named(&case.db, HELD)]);
        };
        let victim = case.attach(&[&["--require-bpf", "--tc", tc, "--xdp", xdp], &options[..]].concat());
        case.fail_each_step(prepare, &victim);
    }
}

#[test]
fn a_switch_to_one_mac_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    for tc in ["tcx", "clsact"] {
        let case = Case::new();
        let prepare = || {
            case.ctl(&["attach", "eth0", "--tc", tc]);
        };
        let victim = ["attach", "eth0", "--require-bpf", "--tc", tc, "--single-mac"].map(str::to_owned);
        case.fail_each_step(prepare, &victim);
    }
}

#[test]
fn an_upgrade_that_fails_leaves_the_older_programs() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    for means in [["--tc", "tcx"], ["--tc", "clsact"], ["--xdp", "native"]] {
        let case = Case::new();
        let prepare = || {
            case.ctl(&[&["attach", "eth0"], &means[..]].concat());
            make_older(&case.lab);
        };
        let victim = [&["attach", "eth0", "--require-bpf"], &means[..]].concat();
        case.fail_each_step(prepare, &victim.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    }
}

/// Ours is taken off and put on again, before that of somebody else. Whatever fails, it is there.
#[test]
fn an_attach_that_fails_while_it_puts_ours_first_leaves_it_on() {
    needs!(require::lab, require::tc, require::tcx, require::crash_points);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    // Which step has which number hangs on what else is on the machine.
    for _ in 0..PASSES {
        let taken_off = fail_while_ours_is_put_first(&lab, &web);
        if taken_off > 0 {
            return;
        }
    }
    panic!("it was never off");
}

/// How often all steps are gone through.
const PASSES: usize = 10;

/// Lets each step fail. Gives how often ours had been taken off.
#[track_caller]
fn fail_while_ours_is_put_first(lab: &Lab, web: &Station) -> usize {
    let mut taken_off = 0;
    for number in 1..MOST {
        let other = Foreign::counter(&lab.host.ns, "eth0", Place::Ingress, Order::First);
        let mut command = lab.ctl_command(&["attach", "eth0", "--storm-limit", "1000"]);
        let ran = cli::output(command.env("MACVLAN_CTL_FAIL_AT", number.to_string()));
        let Some(when) = ran.stderr.lines().find(|line| line.starts_with("fail point ")) else {
            ran.succeeded();
            return taken_off;
        };
        taken_off += usize::from(!ran.status.success() && when.contains("detaching a link"));
        assert_eq!(status(lab)["hairpin"], "tcx", "{}", ran.report());
        assert!(reach_each_other(&lab.host, web), "{}", ran.report());
        drop(other);
        lab.ctl(&["attach", "eth0", "--storm-limit", "off"]).succeeded();
    }
    panic!("it never ends");
}

#[test]
fn an_attach_without_bpf_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let case = Case { without_bpf: true, ..Case::new() };
    case.fail_each_step(|| {}, &case.attach(&["--on-missing-bpf", "shim"]));
    let shim = || case.ctl(&["attach", "eth0", "--on-missing-bpf", "shim", "--child", &case.far_spec()]);
    let add = ["child", "add", "eth0", &case.web_spec(""), "near"].map(str::to_owned);
    case.fail_each_step(shim, &add);
}

#[test]
fn adding_children_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let case = Case::new();
    let policy = "new-group=lan,rate-rx=10mbit";
    let web = case.web_spec(policy);
    let add = ["child", "add", "eth0", web.as_str(), &case.far_spec(), "near"].map(str::to_owned);
    case.fail_each_step(|| case.ctl(&["attach", "eth0"]), &add);
}

#[test]
fn adding_or_changing_a_port_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let case = Case::new();
    let web = case.web_spec("kind=port,host-access=off");
    let add = ["child", "add", "eth0", "near", web.as_str()].map(str::to_owned);
    case.fail_each_step(|| case.ctl(&["attach", "eth0"]), &add);
    let prepare = || {
        case.ctl(&["attach", "eth0"]);
        case.ctl(&add);
    };
    let change = named(&case.web, "mtu=1300,mac=02:00:00:00:07:07,mode=private,host-access=on");
    case.fail_each_step(prepare, &["child", "set", "eth0", &change].map(str::to_owned));
}

#[test]
fn a_guard_that_fails_leaves_no_program_at_ingress() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    for tc in ["tcx", "clsact"] {
        let case = Case::new();
        let prepare = || case.ctl(&case.attach(&["--tc", tc, "--ingress", "off"]));
        let victim = ["child", "set", "eth0", &named(&case.db, HELD)].map(str::to_owned);
        case.fail_each_step(prepare, &victim);
    }
}

#[test]
fn changing_children_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let case = Case::new();
    let prepare = || {
        case.ctl(&case.attach(&[]));
        // What a smaller MTU and another MAC take away.
        case.web.ns.ip("addr add fd77::7/64 dev web nodad");
        // The kernel has the address before it has the route to it.
        wait_for("the address to be the device's own", || {
            let own = case.web.ns.ip_json("-6 route show table local fd77::7");
            own.as_array().is_some_and(|routes| !routes.is_empty()).then_some(())
        });
        case.web.ns.ip("route add 10.77.0.0/24 via 10.9.0.2 dev web metric 7");
        case.web.ns.ip("route add fd78::/64 via fd77::1 dev web metric 7");
        case.web.ns.ip("neigh replace 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev web");
        case.web.ns.ip("neigh replace fd77::77 lladdr 02:00:00:00:00:77 nud permanent dev web");
    };
    let changes = [
        "mtu=1200,mac=02:00:00:00:07:07,mode=private,bcqueuelen=10",
        "ip=10.66.0.2/24,gw=10.66.0.1,host-access=off,new-group=lan,anti-spoof=off,rate-tx=10mbit",
    ];
    let web = named(&case.web, &changes.join(","));
    let far = named(&case.far, "up,mtu=1300,anti-spoof=mac,gw=10.9.0.1");
    let set = ["child", "set", "eth0", web.as_str(), far.as_str()].map(str::to_owned);
    case.fail_each_step(prepare, &set);
}

#[test]
fn applying_a_file_that_fails_changes_nothing() {
    needs!(require::lab, require::tc, require::bpftool, require::crash_points);
    let case = Case::new();
    let child = |station: &Station, lines: &str| {
        let Station { ns, dev, mac, ip, .. } = station;
        let netns = ns.path();
        format!(
            "[[master.child]]\nname = {dev:?}\nnetns = {netns:?}\nmac = \"{mac}\"\nip = [\"{ip}/24\"]\n{lines}\n"
        )
    };
    let extra = case.lab.newcomer("extra");
    let file = [
        "[[master]]\nname = \"eth0\"\nstorm-limit = 700\nxdp = \"generic\"\nprune = true\non-missing-bpf = \"fail\"\n"
            .to_owned(),
        child(&case.far, "mtu = 1300\nhost-access = false\ngw = [\"10.9.0.1\"]"),
        child(&extra, "anti-spoof = \"mac\"\ngw = [\"10.9.0.1\"]"),
    ];
    case.lab.mounts().enter(|| fs::write(FILE, file.concat()).or_fail("write a configuration"));
    let apply = ["apply", "--config", FILE].map(str::to_owned);
    case.fail_each_step(|| case.ctl(&case.attach(&[])), &apply);
}

/// A lab with a child of somebody else, `db`, and places for children of ours, of which one has default
/// routes through another device.
struct Case {
    lab: Lab,
    db: Station,
    web: Station,
    far: Station,
    without_bpf: bool,
    /// Commands that failed, and those that went another way.
    seen: Cell<(usize, usize)>,
}

impl Case {
    fn new() -> Self {
        let lab = Lab::with().ipv6().build();
        let db = lab.child("db", Mode::Bridge);
        let web = lab.newcomer("web");
        let far = lab.newcomer("far");
        for line in [
            "link add up0 type veth peer name up1",
            "link set up1 up",
            "link set up0 up",
            "addr add 10.55.0.2/24 dev up0",
            "addr add fd55::2/64 dev up0 nodad",
            "route add default via 10.55.0.1 dev up0 proto dhcp src 10.55.0.2 mtu 1400",
            "route append default via 10.55.0.9 dev up0 proto static",
            "route add default via 10.55.0.3 dev up0 metric 300",
            "-6 route add default metric 1024 nexthop via fd55::1 dev up0 nexthop via fd55::9 dev up0",
            "route add 10.56.0.0/16 via 10.55.0.1 dev up0 table 77",
        ] {
            web.ns.ip(line);
        }
        Self { lab, db, web, far, without_bpf: false, seen: Cell::default() }
    }

    /// With addresses and gateways of both families, in place of the namespace's own.
    fn web_spec(&self, settings: &str) -> String {
        let gateways = format!("ip={}/64,gw=10.9.0.1,gw=fd09::1", self.web.ip6);
        spec(&self.web, [gateways.as_str(), settings].join(",").trim_end_matches(','))
    }

    fn far_spec(&self) -> String {
        spec(&self.far, "")
    }

    /// Makes three children, the last one where it can go wrong for all that were made before.
    fn attach(&self, args: &[&str]) -> Vec<String> {
        let policy = if self.without_bpf { "" } else { HELD };
        let (web, far) = (self.web_spec(policy), self.far_spec());
        let line = ["attach", "eth0", "--child", &web, "--child", "near,ip=10.44.0.1/24", "--child", &far];
        line.iter().chain(args).map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn ctl(&self, line: &[impl AsRef<str>]) {
        self.run(line, None).succeeded();
    }

    #[track_caller]
    fn run(&self, line: &[impl AsRef<str>], fail_at: Option<usize>) -> cli::Ran {
        let words: Vec<&str> = line.iter().map(AsRef::as_ref).collect();
        let mut command = self.lab.ctl_command(&words);
        if let Some(number) = fail_at {
            command.env("MACVLAN_CTL_FAIL_AT", number.to_string());
        }
        if self.without_bpf {
            deny::bpf(&mut command, libc::EPERM);
        }
        cli::output(&mut command)
    }

    /// Lets each step of `victim` fail, from the same beginning every time.
    #[track_caller]
    fn fail_each_step(&self, prepare: impl Fn(), victim: &[String]) {
        let stations = [&self.db, &self.web, &self.far];
        self.seen.set((0, 0));
        prepare();
        let mut before = Snapshot::of(&self.lab, &stations);
        for number in (1..).step_by(stride()) {
            assert!(number < MOST, "it never ends");
            let ran = self.run(victim, Some(number));
            let told = ran.stderr.lines().find(|line| line.starts_with("fail point "));
            let (failed, went_on) = self.seen.get();
            let Some(when) = told.map(str::to_owned) else {
                ran.succeeded();
                break;
            };
            // Taking down and deleting come last: nothing could bring back what they take away.
            let is_last = ["cannot take down child", "cannot delete children"];
            if ran.status.success() || is_last.iter().any(|words| ran.stderr.contains(words)) {
                self.seen.set((failed, went_on + 1));
                self.clear();
                prepare();
                before = Snapshot::of(&self.lab, &stations);
                continue;
            }
            self.seen.set((failed + 1, went_on));
            assert!(!ran.stderr.contains("not everything is as before"), "{}", ran.report());
            before.wait_for(&self.lab, &stations, &format!("{when} ({})\n{}", ran.line, ran.stderr));
        }
        let (failed, went_on) = self.seen.get();
        println!("{}: {failed} failures taken back, {went_on} worked around", victim.join(" "));
        assert!(failed > 0, "no step failed");
        self.clear();
    }

    #[track_caller]
    fn clear(&self) {
        self.ctl(&["detach", "eth0", "--delete-children"]);
        for line in ["-4 route flush default", "-6 route flush default"] {
            self.web.ns.ip(line);
        }
        for line in [
            "route add default via 10.55.0.1 dev up0 proto dhcp src 10.55.0.2 mtu 1400",
            "route append default via 10.55.0.9 dev up0 proto static",
            "route add default via 10.55.0.3 dev up0 metric 300",
            "-6 route add default metric 1024 nexthop via fd55::1 dev up0 nexthop via fd55::9 dev up0",
        ] {
            self.web.ns.ip(line);
        }
    }
}
