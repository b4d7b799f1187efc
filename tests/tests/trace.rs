//! What `trace` tells of each frame, and which frames it tells of.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use aya::maps::MapInfo;
use macvlan_common::{child::Mode, mac::Mac, names};
use macvlan_tests::{
    attached::Attached,
    cli::run,
    fail::OrFail as _,
    frames::{EXPERIMENTAL, Frame, Marker, VLAN, marked},
    lab::{Family, Lab, Station},
    needs,
    progs::{object, tc_mut, xdp_mut},
    require,
    sniff::Injector,
    talk::{ping, tcp_transfer},
    tracer::{Tracer, is_of},
};

/// Ways to attach, and the hook that judges frames from the wire, to a child and to the host.
const WAYS: [(&[&str], &str, &str); 4] = [
    (&["--tc", "tcx", "--xdp", "off"], "ingress", "ingress"),
    (&["--tc", "clsact", "--xdp", "off"], "ingress", "ingress"),
    (&["--xdp", "native"], "xdp", "ingress"),
    (&["--xdp", "generic"], "xdp", "xdp"),
];

const STRANGER: Mac = Mac::new([0x02, 0, 0, 0, 9, 9]);
const GROUP: Mac = Mac::new([0x01, 0, 0x5e, 0, 0, 9]);

#[test]
fn every_verdict_is_told_once_and_in_words() {
    needs!(require::lab, require::tc, require::tcx, require::binary);
    for (args, wire, to_host) in WAYS {
        let lab = Lab::new();
        let [web, db] = ["web", "db"].map(|name| lab.child(name, Mode::Bridge));
        let alone = lab.child("alone", Mode::Private);
        let _attached = Attached::new(&lab, args);
        let (host, outside) = (&lab.host, &lab.wire);
        // Sender, source and destination; hook, verdict and child.
        let rows = [
            (host, host.mac, web.mac, "egress", "hairpin host->child", Some("web")),
            (&web, web.mac, host.mac, "egress", "hairpin child->host", Some("web")),
            (&alone, alone.mac, host.mac, "egress", "hairpin child->host", Some("alone")),
            (&web, web.mac, db.mac, "ingress", "pass child->child", Some("web")),
            (&web, web.mac, alone.mac, "egress", "drop isolated", Some("web")),
            (&alone, alone.mac, web.mac, "egress", "drop isolated", Some("alone")),
            (outside, outside.mac, web.mac, wire, "pass wire->child", Some("web")),
            (outside, outside.mac, STRANGER, wire, "pass wire->unknown", None),
            (outside, outside.mac, Mac::BROADCAST, wire, "pass wire->all", None),
            (outside, outside.mac, host.mac, to_host, "pass wire->host", None),
            (outside, web.mac, alone.mac, "ingress", "drop isolated", Some("web")),
            (outside, host.mac, Mac::BROADCAST, "ingress", "drop reflected", None),
            (&web, web.mac, Mac::BROADCAST, "egress", "copy child->host", Some("web")),
            // Its own, sent back by a switch within a second: else its MAC would be elsewhere.
            (outside, web.mac, Mac::BROADCAST, "ingress", "hide from host", Some("web")),
            (&web, web.mac, outside.mac, "egress", "pass child->wire", Some("web")),
            (host, host.mac, outside.mac, "egress", "pass host->wire", None),
            (host, STRANGER, outside.mac, "egress", "pass unknown->wire", None),
            (host, host.mac, Mac::BROADCAST, "egress", "copy host->children", None),
            (&alone, alone.mac, GROUP, "egress", "copy child->host", Some("alone")),
        ];
        let tracer = Tracer::start(&lab, &[]);
        let sent = rows.map(|(sender, src, dst, hook, verdict, child)| {
            let marker = Marker::new();
            Injector::new(&sender.ns, &sender.dev).send(&marked(dst, src, marker));
            tracer.wait_for(marker, 1);
            (marker, src, dst, hook, verdict, child)
        });
        let traced = tracer.stop();

        assert!(traced.status.success(), "{args:?}: {}", traced.stderr);
        for (marker, src, dst, hook, verdict, child) in sent {
            let told: Vec<_> = traced.events.iter().filter(|event| is_of(event, marker)).collect();
            let [event] = told[..] else { panic!("{args:?}: {verdict} is told {} times", told.len()) };
            let words = ["hook", "verdict", "child"].map(|key| event[key].as_str());
            assert_eq!(words, [Some(hook), Some(verdict), child], "{args:?}: {event:#}");
            assert_eq!(event["src"], src.to_string(), "{args:?}: {event:#}");
            assert_eq!(event["dst"], dst.to_string(), "{args:?}: {event:#}");
            assert_eq!((&event["len"], &event["segments"]), (&60.into(), &1.into()), "{args:?}: {event:#}");
        }
    }
}

#[test]
fn a_line_says_what_is_in_the_frame() {
    needs!(require::lab, require::tcx, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    let tracer = Tracer::start(&lab, &[]);
    let marker = Marker::new();

    assert!(ping(&lab.host, web.ip.into()));
    let tagged = Frame::new(web.mac, lab.host.mac).tag(VLAN, 7).payload(EXPERIMENTAL, &marker.octets());
    Injector::new(&lab.host.ns, &lab.host.dev).send(&tagged.padded(64));
    tcp_transfer(&lab.host, &web, Family::V4, 1 << 20);
    tracer.wait_for(marker, 1);

    let events = tracer.stop().events;
    let large = events.iter().find(|event| event["segments"].as_u64() > Some(1));
    let large = large.or_fail("find a segmentation-offloaded frame");
    assert!(large["len"].as_u64() > Some(1514), "{large:#}");
    assert!(large["summary"].as_str().is_some_and(|summary| summary.contains(" TCP ")), "{large:#}");
    let (host, child) = (lab.host.ip, web.ip);
    for (verdict, summary) in [
        ("copy host->children", format!("ARP who-has {child} tell {host}")),
        ("hairpin child->host", format!("ARP {child} is-at {}", web.mac)),
        ("hairpin host->child", format!("IPv4 {host} > {child} ICMP echo request")),
        ("hairpin child->host", format!("IPv4 {child} > {host} ICMP echo reply")),
        ("hairpin host->child", "vlan 7 EtherType 0x88b5".to_owned()),
    ] {
        let is_it = |event: &&serde_json::Value| event["summary"] == summary;
        let event = events.iter().find(is_it).or_fail(format!("find {summary:?} in {events:#?}"));
        assert_eq!(event["verdict"], verdict, "{summary}");
    }
    let tagged = events.iter().find(|event| is_of(event, marker)).or_fail("find the tagged frame");
    assert_eq!(tagged["len"], 64);
}

#[test]
fn only_what_was_asked_for_is_told() {
    needs!(require::lab, require::tcx, require::binary);
    const SENT: usize = 40;
    let lab = Lab::new();
    let (web, db) = (lab.child("web", Mode::Bridge), lab.child("db", Mode::Bridge));
    let _attached = Attached::new(&lab, &[]);
    let send = |to: &Station, marker| {
        Injector::new(&lab.host.ns, &lab.host.dev).send_times(&marked(to.mac, lab.host.mac, marker), SENT);
    };
    let mac = web.mac.to_string();
    for child in ["web", mac.as_str()] {
        let (wanted, other) = (Marker::new(), Marker::new());
        let tracer = Tracer::start(&lab, &["--child", child]);
        send(&db, other);
        send(&web, wanted);
        tracer.wait_for(wanted, SENT);
        let events = tracer.stop().events;
        assert_eq!(events.len(), SENT, "--child {child}");
        assert!(events.iter().all(|event| is_of(event, wanted)), "--child {child}");
    }

    let (marker, cpus) = (Marker::new(), std::thread::available_parallelism().or_fail("count CPUs").get());
    let tracer = Tracer::start(&lab, &["--sample", "4", "--child", "web"]);
    send(&web, marker);
    tracer.wait_for(marker, SENT / 4);
    let told = tracer.stop().events.len();
    // Each CPU begins with its first.
    assert!((SENT / 4..SENT / 4 + cpus).contains(&told), "{told} of {SENT} on {cpus} CPUs");

    let tracer = Tracer::start(&lab, &["--count", "5"]);
    send(&web, Marker::new());
    let traced = tracer.wait();
    assert!(traced.status.success(), "{}", traced.stderr);
    assert_eq!(traced.events.len(), 5);

    let error = lab.ctl(&["trace", "eth0", "--child", "nobody"]);
    let error = error.failed(1);
    assert!(
        error.contains("child \"nobody\": \"eth0\" has no such child; see: macvlan-ctl child list"),
        "{error}"
    );
}

#[test]
fn a_capture_holds_what_is_dropped_or_turned_around() {
    needs!(require::lab, require::tcx, require::tcpdump, require::binary);
    let lab = Lab::new();
    let (web, alone) = (lab.child("web", Mode::Bridge), lab.child("alone", Mode::Private));
    let _attached = Attached::new(&lab, &[]);
    let directory = std::env::temp_dir().join(format!("macvlan-tests-{}", std::process::id()));
    fs::create_dir_all(&directory).or_fail("make a directory");
    let path = directory.join("trace.pcapng");
    let name = path.to_str().or_fail("name a file");
    let [turned, dropped, passed] = [(); 3].map(|()| Marker::new());

    let tracer = Tracer::start(&lab, &["--pcap", name]);
    let long = Frame::new(web.mac, lab.host.mac).payload(EXPERIMENTAL, &turned.octets()).padded(1000);
    Injector::new(&lab.host.ns, &lab.host.dev).send(&long);
    Injector::new(&web.ns, &web.dev).send(&marked(alone.mac, web.mac, dropped));
    Injector::new(&web.ns, &web.dev).send(&marked(lab.wire.mac, web.mac, passed));
    tracer.wait_for(passed, 1);
    assert!(tracer.stop().status.success());

    let mode = fs::metadata(&path).or_fail("look at the capture").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = run(Command::new("tcpdump").args(["-e", "-n", "-r", name]));
    // What is inside a frame is indented.
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('\t')).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, macs, len) in
        [(lines[0], (lab.host.mac, web.mac), "length 1000"), (lines[1], (web.mac, alone.mac), "length 60")]
    {
        assert!(line.contains(&format!("{} > {}", macs.0, macs.1)) && line.contains(len), "{line}");
    }
    let bytes = fs::read(&path).or_fail("read the capture");
    for comment in ["egress: hairpin host->child", "egress: drop isolated"] {
        assert!(bytes.windows(comment.len()).any(|part| part == comment.as_bytes()), "{comment}");
    }
    let error = lab.ctl(&["trace", "eth0", "--pcap", name]);
    let error = error.failed(1);
    assert!(error.contains(&format!("cannot create capture {name:?}: it is there already")), "{error}");
    assert_eq!(fs::read(&path).or_fail("read the capture"), bytes, "a file of others was written to");
    let other = directory.join("other.pcapng");
    let other = other.to_str().or_fail("name a file");
    lab.ctl(&["trace", "eth0", "--child", "nobody", "--pcap", other]).failed(1);
    assert!(!fs::exists(other).or_fail("look for a file"), "an empty capture is left");
    fs::remove_dir_all(&directory).or_fail("remove a directory");
}

#[test]
fn a_capture_can_go_to_standard_output() {
    needs!(require::lab, require::tcx, require::tcpdump, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let _attached = Attached::new(&lab, &[]);
    let mut command = lab.ctl_command(&["-v", "trace", "eth0", "--count", "3", "--pcap", "-"]);
    let mut trace = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().or_fail("start a trace");
    let capture = trace.stdout.take().or_fail("read a trace");
    let mut lines = BufReader::new(trace.stderr.take().or_fail("read a trace's errors")).lines();
    let is_in_place = lines.any(|line| line.is_ok_and(|line| line.contains("tracing")));
    assert!(is_in_place, "the trace said nothing");
    let frame = marked(web.mac, lab.host.mac, Marker::new());
    Injector::new(&lab.host.ns, &lab.host.dev).send_times(&frame, 3);

    let text = run(Command::new("tcpdump").args(["-e", "-n", "-r", "-"]).stdin(capture));

    assert!(trace.wait().or_fail("wait for a trace").success());
    assert_eq!(text.lines().filter(|line| line.contains(&web.mac.to_string())).count(), 3, "{text}");
}

#[test]
fn the_plain_programs_hold_nothing_of_a_trace() {
    needs!(require::root, require::bpftool);
    let bytes = fs::read(object()).or_fail("read the object");
    let mut ebpf = aya::Ebpf::load(&bytes).or_fail("load the object");
    for (plain, traced) in names::TRACED {
        let [(plain_code, plain_maps), (traced_code, traced_maps)] = [plain, traced].map(|name| {
            let info = if [names::XDP, names::XDP_FRAGS].contains(&plain) {
                let program = xdp_mut(&mut ebpf, name);
                program.load().and_then(|()| program.info())
            } else {
                let program = tc_mut(&mut ebpf, name);
                program.load().and_then(|()| program.info())
            };
            let info = info.or_fail(format!("load {name}"));
            let ids = info.map_ids().or_fail("ask for maps").or_fail("read maps");
            let map = |id: &u32| MapInfo::from_id(*id).or_fail("look at a map");
            let maps: Vec<_> = ids.iter().map(|id| map(id).name_as_str().unwrap_or("?").to_owned()).collect();
            let id = info.id().to_string();
            (run(Command::new("bpftool").args(["prog", "dump", "xlated", "id", &id])), maps)
        });
        let own = ["AYA_LOGS", names::TRACE, names::TRACE_RING];
        // Going down, whether the kernel tells the namespace of a socket is a constant, too.
        let has_others = [names::EGRESS, names::SINGLE_EGRESS].contains(&plain);
        let is_own = |map: &str| own.contains(&map) || (map == ".rodata" && !has_others);
        let has_own = |maps: &[String]| maps.iter().any(|map| is_own(map));
        assert!(!has_own(&plain_maps) && has_own(&traced_maps), "{plain}: {plain_maps:?}, {traced_maps:?}");
        // That the traced twin has them shows that they are seen where they are.
        for call in ["bpf_ringbuf_reserve", "bpf_ktime_get_boot_ns"] {
            assert!(!plain_code.contains(call) && traced_code.contains(call), "{call} in {plain}");
        }
        assert!(plain_code.lines().any(|line| line.contains(": (")), "no instructions of {plain}");
    }
}
