//! What is printed: JSON to the letter, tables that fit a terminal, and nothing that a pipe cannot
//! take.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{ChildStdout, Command, Stdio},
};

use macvlan_common::{child::Mode, counters::Path};
use macvlan_tests::{
    cli,
    control::{spec, status},
    fail::{OrFail as _, wait_for},
    footprint::Footprint,
    foreign::{Foreign, Order, Place},
    frames::{self, Marker},
    lab::{Lab, Station},
    mounts::BPFFS,
    needs, require,
    sniff::Injector,
    stats::Stats,
    talk::ping,
};
use serde_json::Value;

/// Columns of a terminal that nobody made wider.
const WIDTH: usize = 80;

/// The longest name that a device can have.
const LONG: &str = "fifteen-bytes!!";

#[test]
fn status_in_json_is_as_documented() {
    needs!(require::lab, require::binary);
    let (lab, own, web) = named_lab();
    lab.ctl(&["attach", "eth0", "--xdp", "off"]).succeeded();

    let master = master_fields(
        &lab,
        r#""datapath":"bpf","demux":"tc","hairpin":"tcx","ingress":true,"directed_neigh":true,"host_flood":"device","storm_limit":null,"degraded":[],"drop_unknown":"off","vepa_switch":false,"single_mac":false,"isolation":"off""#,
    );
    let children = children(&lab, &own, &web, true);
    let expected = format!(r#"[{{{master},"children":{children}}}]"#);
    assert_eq!(lab.ctl(&["-j", "status", "eth0"]).succeeded().stdout, format!("{expected}\n"));
    assert_eq!(lab.ctl(&["-j", "status"]).succeeded().stdout, format!("{expected}\n"));
    let list = lab.ctl(&["-j", "child", "list", "eth0"]).succeeded();
    assert_eq!(list.stdout, format!("{children}\n"));
}

#[test]
fn status_in_json_says_what_is_less_than_the_best() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let text = lab.ctl(&["-j", "status", "eth0"]).succeeded().stdout;
    let degraded = r#""degraded":[{"feature":"demux","wanted":"xdp-native","got":"tc","reason":"veth copies"#;
    assert!(text.contains(degraded), "{text}");
}

#[test]
fn status_in_json_of_a_device_without_the_data_path_is_as_documented() {
    needs!(require::lab, require::binary);
    let (lab, own, web) = named_lab();
    let reason = "not attached: macvlan-ctl attach eth0";
    let part = |feature: &str, wanted: &str, got: &str| {
        format!(r#"{{"feature":"{feature}","wanted":"{wanted}","got":"{got}","reason":"{reason}"}}"#)
    };
    let master = master_fields(
        &lab,
        &format!(
            r#""datapath":"kernel","demux":"kernel","hairpin":"off","ingress":false,"directed_neigh":false,"host_flood":"off","storm_limit":null,"degraded":[{},{}],"drop_unknown":"off","vepa_switch":false,"single_mac":false,"isolation":"off""#,
            part("datapath", "bpf", "kernel"),
            part("hairpin", "tcx", "off"),
        ),
    );
    let expected = format!("[{{{master},\"children\":{}}}]\n", children(&lab, &own, &web, false));
    assert_eq!(lab.ctl(&["-j", "status", "eth0"]).succeeded().stdout, expected);
}

#[test]
fn stats_in_json_are_as_documented() {
    needs!(require::lab, require::binary);
    const NONE: &str = r#"{"packets":0,"bytes":0}"#;
    let (lab, own, web) = named_lab();
    lab.ctl(&["attach", "eth0"]).succeeded();

    let reasons = [
        "dhcp_guard",
        "foreign",
        "isolated",
        "ra_guard",
        "rate",
        "reflected",
        "spoofed",
        "storm",
        "stranger",
        "unknown",
    ];
    let drops = reasons.map(|reason| format!(r#""{reason}":{NONE}"#)).join(",");
    let drops = format!(r#""drops":{{{drops}}}"#);
    let child = |station: &Station, place: &str| {
        let Station { dev, mac, .. } = station;
        let path = |name: &str| format!(r#""{name}":{{"rx":{NONE},"tx":{NONE}}}"#);
        let [wire, host, sibling] = ["wire", "host", "sibling"].map(path);
        format!(
            r#"{{"ifname":"{dev}","address":"{mac}",{place},"container":null,"stats64":null,{wire},{host},{sibling},{drops}}}"#
        )
    };
    let flood = format!(r#""flood":{{"child":{NONE},"host":{NONE},"wire":{NONE}}}"#);
    let expected = format!(
        r#"[{{"ifname":"eth0","unknown_unicast":{NONE},{flood},{drops},"copy_failed":{NONE},"kernel_rx_dropped":0,"children":[{},{}]}}]"#,
        child(&own, r#""netns":null,"netnsid":null"#),
        child(&web, r#""netns":"blue","netnsid":7"#)
    );
    assert_eq!(lab.ctl(&["-j", "stats", "eth0"]).succeeded().stdout, format!("{expected}\n"));
    assert_eq!(lab.ctl(&["-j", "stats"]).succeeded().stdout, format!("{expected}\n"));
}

#[test]
fn nothing_to_tell_of_is_an_empty_array() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    for line in [&["-j", "status"][..], &["-j", "stats"], &["-j", "child", "list", "eth0"]] {
        assert_eq!(lab.ctl(line).succeeded().stdout, "[]\n", "{line:?}");
    }
}

#[test]
fn a_namespace_that_status_names_can_be_opened_by_that() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    lab.host.ns.ip("link add link eth0 name own type macvlan mode bridge");
    lab.ctl(&["attach", "eth0"]).succeeded();
    let status = status(&lab);
    let children = status["children"].as_array().or_fail("read the children");
    for namespace in children.iter().chain([&status]).filter_map(|part| part["netns"].as_str()) {
        assert!(fs::exists(namespace).is_ok_and(|there| there), "{namespace} is gone: {status:#}");
    }
}

#[test]
fn every_table_fits_a_terminal() {
    needs!(require::lab, require::binary);
    let lab = Lab::with().master(LONG).build();
    let web = lab.newcomer(LONG);
    lab.mounts().name_netns("a-namespace-with-a-name-of-some-length", &web.ns);
    let _others = [lab.child("private", Mode::Private), lab.macvtap("source", Mode::Source)];
    let lines = [&["status"][..], &["status", LONG], &["stats"], &["stats", LONG], &["child", "list", LONG]];
    let mut wide = too_wide(&lab, &lines);
    for args in [&[][..], &["--xdp", "generic"], &["--xdp", "native", "--tc", "clsact"]] {
        lab.ctl(&[&["attach", LONG, "--child", &spec(&web, "")], args].concat()).succeeded();
        assert!(ping(&lab.host, web.ip.into()));
        wide.extend(too_wide(&lab, &lines));
        lab.ctl(&["detach", LONG]).succeeded();
    }
    assert!(wide.is_empty(), "wider than {WIDTH} columns: {wide:#?}");
}

/// Lines that do not fit a terminal, of what these commands print.
#[track_caller]
fn too_wide(lab: &Lab, commands: &[&[&str]]) -> BTreeSet<String> {
    let mut wide = BTreeSet::new();
    for command in commands {
        // As on a terminal: a pipe gets all.
        let text = cli::output(lab.ctl_command(command).env("COLUMNS", WIDTH.to_string())).succeeded().stdout;
        wide.extend(text.lines().filter(|line| line.chars().count() > WIDTH).map(str::to_owned));
    }
    wide
}

#[test]
fn tables_are_aligned_and_name_every_child() {
    needs!(require::lab, require::binary);
    let (lab, own, web) = named_lab();
    lab.ctl(&["attach", "eth0"]).succeeded();
    let text = lab.ctl(&["child", "list", "eth0"]).succeeded().stdout;
    let expected = [
        "CHILD NETNS MODE    MAC                MTU STATE HOST BY".to_owned(),
        format!("own   host  bridge  {} 1500 up    own  other", own.mac),
        format!("web   blue  private {} 1400 down  on   us", web.mac),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let status = lab.ctl(&["status", "eth0"]).succeeded().stdout;
    let stats = lab.ctl(&["stats", "eth0"]).succeeded().stdout;
    for (name, known) in [("own", "own"), ("web", "blue/web")] {
        assert!(status.lines().any(|line| line.starts_with(name)), "{status}");
        assert!(stats.lines().any(|line| line.starts_with(known)), "{stats}");
    }
}

#[test]
fn nothing_is_cut_for_a_pipe() {
    needs!(require::lab, require::binary);
    const NAME: &str = "a-namespace-with-a-name-of-some-length";
    let lab = Lab::new();
    let web = lab.newcomer(LONG);
    lab.mounts().name_netns(NAME, &web.ns);
    lab.ctl(&["attach", "eth0", "--child", &spec(&web, "")]).succeeded();
    for line in [&["status"][..], &["stats"], &["child", "list", "eth0"]] {
        let text = lab.ctl(line).succeeded().stdout;
        assert!(text.contains(NAME) && !text.contains('~'), "{text}");
    }
}

#[test]
fn addresses_are_told_by_status_and_child_list() {
    needs!(require::lab, require::binary);
    let (lab, own, web) = named_lab();
    web.ns.sysctl("ipv6/conf/web/disable_ipv6", 0);
    web.ns.ip("link set web up");
    for address in [format!("{}/24", web.ip), format!("{}/64 nodad", web.ip6)] {
        web.ns.ip(&format!("address add {address} dev web"));
    }
    lab.host.ns.ip(&format!("address add {}/24 dev own", own.ip));
    lab.ctl(&["attach", "eth0"]).succeeded();
    for line in [&["status", "eth0"][..], &["child", "list", "eth0"]] {
        let text = lab.ctl(line).succeeded().stdout;
        for told in [format!("own: {}/24", own.ip), format!("blue/web: {}/24, {}/64", web.ip, web.ip6)] {
            assert!(text.lines().any(|line| line.starts_with(&told)), "{told}: {text}");
        }
    }
    let children = lab.ctl(&["-j", "child", "list", "eth0"]).succeeded().json();
    assert_eq!(children[0]["addresses"][0], format!("{}/24", own.ip), "{children:#}");
    assert_eq!(children[1]["addresses"][1], format!("{}/64", web.ip6), "{children:#}");
}

#[test]
fn watched_stats_are_rates_and_end_well_with_their_reader() {
    needs!(require::lab, require::binary);
    const BEFORE: usize = 1000;
    const FRAMES: u64 = 10;
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let sender = Injector::new(&lab.wire.ns, &lab.wire.dev);
    let frame = frames::marked(web.mac, lab.wire.mac, Marker::new());
    // Counted before, so that totals would be told from rates.
    sender.send_times(&frame, BEFORE);
    wait_for("the first frames to be counted", || {
        let stats = Stats::of(&lab.ctl(&["-j", "stats", "eth0"]).succeeded().json());
        (stats.rx("web", Path::Wire).packets >= BEFORE as u64).then_some(())
    });
    let mut watch = Watch::start(&lab, &["-j", "stats", "eth0", "--watch", "1"]);
    assert_eq!(watch.rate(), 0);

    sender.send_times(&frame, FRAMES as usize);

    // Divided by the true time between two reports, which is a second more or less.
    let rate = wait_for("a rate", || Some(watch.rate()).filter(|rate| *rate > 0));
    assert!(rate <= 10 * FRAMES, "{rate} frames per second of {FRAMES} frames");
    wait_for("rest", || (watch.rate() == 0).then_some(()));
    watch.ends_with_its_reader();
}

#[test]
fn watched_stats_for_people_are_per_second_and_end_well_with_their_reader() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    lab.ctl(&["attach", "eth0"]).succeeded();
    let mut watch = Watch::start(&lab, &["stats", "--watch", "1"]);
    let time = watch.line();
    assert!(is_time(&time), "{time}");
    for heading in ["eth0:", "  unknown unicast 0/s (0B/s)"] {
        assert_eq!(watch.line(), heading);
    }
    let titles = loop {
        let line = watch.line();
        if line.starts_with("CHILD") {
            break line;
        }
    };
    let titles: Vec<&str> = titles.split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    assert_eq!(titles, ["CHILD", "PATH", "RX PKTS/s RX BYTES/s TX PKTS/s TX BYTES/s"]);
    watch.ends_with_its_reader();
}

/// Whether this is a time as RFC 3339 has it, in UTC, to the millisecond.
fn is_time(text: &str) -> bool {
    let is_digit_or = |(at, c): (usize, char)| match at {
        4 | 7 => c == '-',
        10 => c == 'T',
        13 | 16 => c == ':',
        19 => c == '.',
        23 => c == 'Z',
        _ => c.is_ascii_digit(),
    };
    text.len() == 24 && text.chars().enumerate().all(is_digit_or)
}

/// A command that prints again and again, and whoever reads that.
struct Watch {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Watch {
    #[track_caller]
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut command = lab.ctl_command(args);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().or_fail("watch");
        let output = process.stdout.take().or_fail("read standard output");
        Self { process, output: BufReader::new(output) }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let len = self.output.read_line(&mut line).or_fail("read a line");
        assert!(len > 0, "the watch ended by itself");
        line.trim_end().to_owned()
    }

    /// Frames per second from the wire to the child `web`, in the next report.
    #[track_caller]
    fn rate(&mut self) -> u64 {
        let report: Value = serde_json::from_str(&self.line()).or_fail("read JSON");
        let time = report[0]["time"].as_str().or_fail("read the time");
        assert!(is_time(time), "{time}");
        Stats::of(&report).rx("web", Path::Wire).packets
    }

    #[track_caller]
    fn ends_with_its_reader(self) {
        let Self { mut process, output } = self;
        drop(output);
        wait_for("the watch to end", || process.try_wait().or_fail("wait for the watch"));
        let ended = process.wait_with_output().or_fail("read what the watch said");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{}: {said}", ended.status);
        assert_eq!(said, "");
    }
}

#[test]
fn quiet_silences_warnings_and_nothing_else() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _foreign = Foreign::counter(&lab.host.ns, "eth0", Place::XdpNative, Order::First);
    let attach = ["attach", "eth0", "--xdp", "native"];
    let loud = lab.ctl(&attach).succeeded();
    assert!(loud.stderr.starts_with("macvlan-ctl: warning: "), "{}", loud.report());
    lab.ctl(&["detach", "eth0"]).succeeded();

    let quiet = lab.ctl(&[&["-q"], &attach[..]].concat()).succeeded();

    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    lab.ctl(&["-q", "detach", "nowhere"]).failed(1);
}

#[test]
fn a_command_that_did_as_asked_says_nothing_unless_asked() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    for line in [
        &["attach", "eth0", "--child", "web"][..],
        &["child", "add", "eth0", "db"],
        &["child", "set", "eth0", "db,host-access=off"],
        &["child", "del", "eth0", "db"],
        &["attach", "eth0"],
        &["detach", "eth0", "--delete-children"],
    ] {
        let ran = lab.ctl(line).succeeded();
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{line:?}");
    }
    let told = lab.ctl(&["-v", "attach", "eth0", "--child", "web"]).succeeded().stdout;
    assert!(told.contains("create macvlan \"web\"") && told.contains("attach the data path"), "{told}");
}

#[test]
fn help_names_every_command_and_the_exit_status() {
    needs!(require::root, require::binary);
    let help = cli::output(Command::new(cli::binary()).arg("--help")).succeeded().stdout;
    for part in ["attach", "detach", "child", "status", "stats", "demo", "--netns", "--json"] {
        assert!(help.contains(part), "{part:?} is wanted in: {help}");
    }
    let exit = help.lines().find(|line| line.starts_with("Exit status")).or_fail("find the exit status");
    for part in ["0 done", "1 failed", "2 usage"] {
        assert!(exit.contains(part), "{part:?} is wanted in: {exit}");
    }
    let attach = cli::output(Command::new(cli::binary()).args(["attach", "--help"])).succeeded().stdout;
    let keys = ["mode=", "kind=", "netns=", "mac=", "mtu=", "ip=", "gw=", "bcqueuelen=", "host-access="];
    for part in keys.iter().chain(&["--child", "--xdp", "--no-adopt", "--require-bpf", "--dry-run"]) {
        assert!(attach.contains(part), "{part:?} is wanted in: {attach}");
    }
}

#[test]
fn a_pipe_gets_no_escape_codes() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _web = lab.child("web", Mode::Bridge);
    for line in [
        &["-v", "attach", "eth0"][..],
        &["status"],
        &["stats"],
        &["child", "list", "eth0"],
        &["attach", "eth0", "--dry-run"],
        &["attach", "nowhere"],
        &["attach"],
        &["--help"],
        &["attach", "--help"],
        &["demo"],
        &["-v", "detach", "eth0"],
    ] {
        let ran = cli::output(lab.ctl_command(line).env("TERM", "xterm-256color"));
        assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{}", ran.report());
    }
}

#[test]
fn the_demo_shows_the_difference_and_leaves_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let before = Footprint::of(&lab);

    let ran = lab.ctl(&["demo"]).succeeded();

    assert_eq!(ran.stderr, "", "{}", ran.report());
    let marks = |wanted: &[&str]| -> Vec<String> {
        let lines = ran.stdout.lines().map(str::trim_start);
        let marked = lines.filter(|line| line.starts_with("ok ") || line.starts_with("-- "));
        marked.filter(|line| wanted.iter().any(|part| line.contains(part))).map(str::to_owned).collect()
    };
    let with_host = marks(&["host"]);
    let (plain, attached) = with_host.split_at(with_host.len() / 2);
    assert_eq!(plain.len(), 4, "{}", ran.report());
    assert!(
        plain.iter().all(|line| line.starts_with("-- ") && line.ends_with("does not answer")),
        "{plain:?}"
    );
    assert!(attached.iter().all(|line| line.starts_with("ok ") && line.ends_with("answers")), "{attached:?}");
    let others = marks(&["web  pings db", "wire pings web"]);
    assert_eq!(others.len(), 4, "{}", ran.report());
    assert!(others.iter().all(|line| line.starts_with("ok ")), "{others:?}");
    assert!(ran.stdout.contains("$ macvlan-ctl attach eth0"), "{}", ran.report());
    before.assert_same(&Footprint::of(&lab));
}

#[test]
fn the_demo_fits_a_terminal() {
    needs!(require::lab, require::binary);
    let wide = too_wide(&Lab::new(), &[&["demo"]]);
    assert!(wide.is_empty(), "wider than {WIDTH} columns: {wide:#?}");
}

#[test]
fn a_demo_that_nobody_reads_to_its_end_leaves_nothing() {
    needs!(require::lab, require::tc, require::binary);
    let lab = Lab::new();
    let pins = || lab.mounts().enter(|| fs::read_dir(BPFFS).or_fail("list pins").count());
    let before = pins();
    let mut demo = Watch::start(&lab, &["demo"]);
    while !demo.line().starts_with("Plain kernel macvlan") {}
    demo.ends_with_its_reader();
    assert_eq!(pins(), before);
}

/// A lab whose host's namespace is called `host`, with a macvlan `own` of its own in that, and a
/// child of ours, private and down, in another that is called `blue` and has number 7.
#[track_caller]
fn named_lab() -> (Lab, Station, Station) {
    let lab = Lab::new();
    let (own, web) = (lab.newcomer("own"), lab.newcomer("web"));
    lab.mounts().name_netns("host", &lab.host.ns);
    lab.mounts().name_netns("blue", &web.ns);
    cli::run(lab.command(&lab.host.ns, "ip").args(["netns", "set", "blue", "7"]));
    lab.host.ns.ip(&format!("link add link eth0 name own address {} type macvlan mode bridge", own.mac));
    lab.host.ns.ip("link set own up");
    let Station { dev, mac, .. } = &web;
    let web_spec = format!("{dev},netns=blue,mac={mac},mode=private,mtu=1400,down");
    lab.ctl(&["-q", "child", "add", "eth0", &web_spec]).succeeded();
    (lab, own, web)
}

/// The head of `status -j`.
fn master_fields(lab: &Lab, rest: &str) -> String {
    let Station { ns, dev, mac, .. } = &lab.host;
    let index = ns.ifindex(dev);
    format!(r#""ifname":"{dev}","ifindex":{index},"address":"{mac}","netns":"host",{rest}"#)
}

/// The children of [`named_lab`] as `status -j` prints them, with the data path or without.
fn children(lab: &Lab, own: &Station, web: &Station, is_attached: bool) -> String {
    let none = r#""not attached: macvlan-ctl attach eth0""#;
    let (why_own, why_web) =
        if is_attached { (r#""a device of the host's own""#, "null") } else { (none, none) };
    let own = format!(
        r#"{{"ifname":"own","ifindex":{},"netns":"host","netnsid":null,"address":"{}","mode":"bridge","kind":"macvlan","mtu":1500,"up":true,"local":{},"elsewhere":false,"host_owned":{is_attached},"adopted":true,"host_access":false,"host_access_reason":{why_own},"unsettled":false,"sibling_access":true,"group":null,"anti_spoof":"off","vepa_reflect":"switch","ra":true,"dhcp_server":true,"host_control":false,"mac_change":false,"rate_rx":null,"rate_tx":null,"rate_scope":"all","owned":false,"container":null,"addresses":[]}}"#,
        lab.host.ns.ifindex("own"),
        own.mac,
        !is_attached
    );
    let web = format!(
        r#"{{"ifname":"web","ifindex":{},"netns":"blue","netnsid":7,"address":"{}","mode":"private","kind":"macvlan","mtu":1400,"up":false,"local":false,"elsewhere":false,"host_owned":false,"adopted":true,"host_access":{is_attached},"host_access_reason":{why_web},"unsettled":false,"sibling_access":true,"group":null,"anti_spoof":"off","vepa_reflect":"switch","ra":true,"dhcp_server":true,"host_control":false,"mac_change":false,"rate_rx":null,"rate_tx":null,"rate_scope":"all","owned":true,"container":null,"addresses":[]}}"#,
        web.ns.ifindex("web"),
        web.mac
    );
    format!("[{own},{web}]")
}
