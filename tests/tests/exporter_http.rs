//! Clients of the exporter: honest ones are served whatever the others do.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use macvlan_common::mac::Mac;
use macvlan_core::{
    follow::snapshot::{MasterSnapshot, Snapshot},
    kernel::netlink::kind::Kind,
    model::{
        description::{Carrier, Demux, Hairpin, HostFlood},
        options::{DropUnknown, Isolation},
        status::{ChildStatus, MasterStatus},
    },
    policy::status::PolicyStatus,
};
use macvlan_tests::{
    exporter::Exporter,
    fail::{OrFail as _, PATIENCE, wait_for},
    http::{Answer, ask, client, get, narrow_client},
    needs,
    netns::Netns,
    require,
};

/// Connections that the exporter keeps at a time.
const MAX_CLIENTS: usize = 16;

/// How long an honest client may take while others are hostile; on an idle machine it is done in
/// a hundredth of that.
const PROMPT: Duration = Duration::from_secs(3);

#[test]
fn each_path_has_its_answer_and_nothing_else_does() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let ask = |request: &str| ask(&ns, exporter.address, request).or_fail(request);

    wait_for("the children's identity", || {
        ask("GET /metrics").body.contains("macvlan_child_info{").then_some(())
    });
    let metrics = ask("GET /metrics");
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.field("content-type"), Some("text/plain; version=0.0.4"));
    assert!(metrics.body.contains("\nmacvlan_child_info{master=\"eth0\","), "{}", metrics.body);
    assert_eq!(ask("GET /metrics?x=1").status, 200);
    let mut head = (client(&ns, exporter.address), String::new());
    head.0
        .write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .or_fail("ask for the head");
    head.0.read_to_string(&mut head.1).or_fail("read the head");
    assert!(head.1.starts_with("HTTP/1.1 200 ") && head.1.ends_with("\r\n\r\n"), "{}", head.1);
    assert_eq!(head.1.matches("\r\n\r\n").count(), 1, "{}", head.1);

    let home = ask("GET /");
    assert_eq!(home.status, 200);
    assert!(home.body.contains("<a href=\"/metrics\">"), "{}", home.body);
    assert_eq!(ask("GET /healthz").body, "ok\n");
    assert_eq!(ask("GET /readyz").body, "ok\n");

    for request in ["GET /metrics/", "GET /favicon.ico", "GET /../etc/passwd", "POST /other"] {
        assert_eq!(ask(request).status, 404, "{request}");
    }
    for request in ["POST /metrics", "PUT /", "DELETE /healthz", "OPTIONS /metrics"] {
        let refused = ask(request);
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{request}");
    }
}

#[test]
fn health_is_that_of_the_follower() {
    needs!(require::lab);
    let (ns, mut exporter) = served(1);
    exporter.end_follower();
    let health = ask(&ns, exporter.address, "GET /healthz").or_fail("ask for the health");
    assert_eq!(health.status, 503, "{health:?}");
    assert_eq!(ask(&ns, exporter.address, "GET /readyz").or_fail("ask for the readiness").status, 503);
    get(&ns, exporter.address, "/metrics");
}

#[test]
fn a_body_is_not_waited_for() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let mut stream = client(&ns, exporter.address);
    let header = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n";
    stream.write_all(header.as_bytes()).or_fail("send a header");
    assert_eq!(Answer::read(&mut stream).or_fail("read the answer").status, 405);
}

#[test]
fn garbage_is_refused() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let mut stream = client(&ns, exporter.address);
        stream.write_all(garbage).or_fail("send garbage");
        let answer = Answer::read(&mut stream);
        assert!(!answer.is_ok_and(|answer| answer.status != 400), "{garbage:?}");
    }
    get(&ns, exporter.address, "/metrics");
}

#[test]
fn a_giant_header_is_refused_before_it_ends() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let mut stream = client(&ns, exporter.address);
    let mut sent = 0;
    // It never ends: only the server can end this.
    let field = format!("X-Giant: {}\r\n", "a".repeat(1000));
    let mut next: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n";
    while stream.write_all(next).is_ok() {
        sent += next.len();
        assert!(sent < 64 << 20, "{sent} bytes of header are taken");
        next = field.as_bytes();
    }
    get(&ns, exporter.address, "/metrics");
}

#[test]
fn too_many_fields_are_refused() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let mut stream = client(&ns, exporter.address);
    let fields: String = (0..1000).map(|number| format!("X{number}: 1\r\n")).collect();
    stream.write_all(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).or_fail("send a header");
    assert_eq!(Answer::read(&mut stream).or_fail("read the answer").status, 431);
}

#[test]
fn whoever_sends_a_header_drop_by_drop_is_hung_up_on() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let mut stream = client(&ns, exporter.address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").or_fail("begin a header");
    let start = Instant::now();
    while stream.write_all(b"X: y\r\n").is_ok() && !is_closed(&stream) {
        assert!(start.elapsed() < PATIENCE, "still connected after {PATIENCE:?}");
        honest(&ns, &exporter);
    }
}

#[test]
fn whoever_says_nothing_is_hung_up_on() {
    needs!(require::lab);
    let (ns, exporter) = served(1);
    let mut mute = client(&ns, exporter.address);
    let mut closed_half = client(&ns, exporter.address);
    closed_half.write_all(b"GET /met").or_fail("begin a request");
    closed_half.shutdown(std::net::Shutdown::Write).or_fail("close one direction");
    let mut rest = Vec::new();
    for stream in [&mut mute, &mut closed_half] {
        rest.clear();
        // Hung up on with or without a word, but within the patience of the read.
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
        assert!(!String::from_utf8_lossy(&rest).contains("macvlan_"));
    }
    honest(&ns, &exporter);
}

#[test]
fn whoever_does_not_read_is_hung_up_on_and_nobody_waits_for_that() {
    needs!(require::lab);
    let (ns, exporter) = served(4096);
    // By default the kernel would take in all that there is to send.
    ns.sysctl("ipv4/tcp_wmem", "4096 16384 65536");
    let whole = ask(&ns, exporter.address, "GET /metrics").or_fail("scrape");
    let whole: usize = whole.field("content-length").and_then(|length| length.parse().ok()).or_fail("length");
    let mut deaf = narrow_client(&ns, exporter.address);
    deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").or_fail("send a request");
    // Its connection stands while honest clients come and go, until the server ends it.
    let start = Instant::now();
    while is_connected_in(&ns, &deaf) {
        assert!(start.elapsed() < PATIENCE, "still connected after {PATIENCE:?}");
        honest(&ns, &exporter);
    }
    let mut got = Vec::new();
    // What had arrived is there at once; a reset or nothing more is as good as an end.
    deaf.set_read_timeout(Some(Duration::from_secs(1))).or_fail("limit the time of a read");
    let _ = deaf.read_to_end(&mut got);
    assert!(got.len() < whole, "all {whole} bytes were taken in without reading: the test shows nothing");
}

#[test]
fn connections_that_are_held_keep_nobody_out() {
    needs!(require::lab);
    let (ns, exporter) = served(64);
    let held: Vec<TcpStream> = (0..4 * MAX_CLIENTS).map(|_| client(&ns, exporter.address)).collect();
    honest(&ns, &exporter);
    wait_for("the oldest connections to be ended", || {
        (held.iter().filter(|stream| !is_closed(stream)).count() <= MAX_CLIENTS).then_some(())
    });
    let samples = exporter.scrape_until("evictions to be counted", |samples| {
        samples.get("macvlan_exporter_evicted_connections_total").is_some_and(|count| count > 0.0)
    });
    let evicted = samples.get("macvlan_exporter_evicted_connections_total").or_fail("read a counter");
    assert!(evicted >= (3 * MAX_CLIENTS) as f64, "{evicted}");
}

#[test]
fn a_stampede_is_served_one_text() {
    needs!(require::lab);
    let (ns, exporter) = served(512);
    let ended = AtomicBool::new(false);
    let start = Instant::now();
    let (served, distinct) = thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut served, mut texts) = (0_usize, std::collections::BTreeSet::new());
                    while !ended.load(Ordering::Relaxed) {
                        texts.insert(get(&ns, exporter.address, "/metrics"));
                        served += 1;
                    }
                    (served, texts)
                })
            })
            .collect();
        wait_for("a second to pass", || (start.elapsed() > Duration::from_secs(1)).then_some(()));
        ended.store(true, Ordering::Relaxed);
        let mut all = (0, std::collections::BTreeSet::new());
        for asker in askers {
            let (served, texts) = asker.join().map_err(|_| "it panicked").or_fail("join");
            all.0 += served;
            all.1.extend(texts);
        }
        (all.0, all.1.len())
    });
    // Every text tells how long its making took, so no two are the same.
    let most = start.elapsed().as_millis() as usize / 250 + 2;
    assert!(distinct <= most, "{distinct} texts in {:?}", start.elapsed());
    assert!(served > 2 * distinct, "{served} answers of {distinct} texts");
}

/// An exporter of a master with so many children, which has no data path.
fn served(children: u32) -> (Netns, Exporter) {
    let children = (0..children).map(|number| {
        let [_, _, high, low] = number.to_be_bytes();
        ChildStatus {
            ifname: format!("child{number}"),
            ifindex: number + 10,
            netns: Some(format!("a namespace with a long name, number {number}")),
            netnsid: i32::try_from(number).ok(),
            address: Mac::new([2, 0, 0, 0, high, low]),
            mode: "bridge",
            kind: Kind::Macvlan,
            mtu: 1500,
            up: true,
            local: true,
            elsewhere: false,
            host_owned: false,
            adopted: true,
            host_access: true,
            host_access_reason: None,
            unsettled: false,
            policy: PolicyStatus::default(),
            owned: false,
            container: None,
            addresses: Vec::new(),
            wire_addresses: Vec::new(),
        }
    });
    let status = MasterStatus {
        ifname: "eth0".into(),
        ifindex: 2,
        address: Mac::new([2, 0, 0, 1, 0, 0]),
        netns: None,
        datapath: Carrier::Kernel,
        demux: Demux::Kernel,
        hairpin: Hairpin::Off,
        ingress: false,
        directed_neigh: false,
        host_flood: HostFlood::Off,
        storm_limit: None,
        degraded: Vec::new(),
        drop_unknown: DropUnknown::Off,
        vepa_switch: false,
        isolation: Isolation::Off,
        single_mac: false,
        children: children.collect(),
    };
    let ns = Netns::new();
    let exporter = Exporter::of_view(
        &ns,
        Snapshot { masters: vec![MasterSnapshot::new(status, None)], waiting: Vec::new() },
    );
    (ns, exporter)
}

/// A client that does as it should, and is served promptly.
#[track_caller]
fn honest(ns: &Netns, exporter: &Exporter) {
    let start = Instant::now();
    let body = get(ns, exporter.address, "/metrics");
    assert!(body.contains("\nmacvlan_exporter_scrape_errors_total 0\n"));
    assert!(start.elapsed() < PROMPT, "an honest client took {:?}", start.elapsed());
}

/// Whether the server has ended a connection on which it sends nothing.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).or_fail("look without waiting");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).or_fail("wait again");
    !peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Whether the server's end of a connection is still open, as `/proc/net/tcp` tells: its client
/// would learn that only by reading.
fn is_connected_in(ns: &Netns, stream: &TcpStream) -> bool {
    const ESTABLISHED: &str = "01";
    let port = stream.local_addr().or_fail("tell the port of a client").port();
    let peer = format!("0100007F:{port:04X}");
    let table = ns.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).or_fail("list connections");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next() == Some(&peer) && words.next() == Some(ESTABLISHED)
    })
}
