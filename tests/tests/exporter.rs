//! What is scraped of a real data path.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aya::{
    maps::{Map, MapData, PerCpuHashMap, PerCpuValues},
    sys::{Stats as KernelStats, enable_stats},
};
use macvlan_common::{
    child::{ChildEntry, Mode},
    counters::{ChildCounters, Count, DROP_REASONS},
    mac::Mac,
    names,
};
use macvlan_tests::{
    attached::Attached,
    cli::output,
    exporter::{Exporter, Samples, busy_children, only_pins},
    fail::{OrFail as _, PATIENCE, wait_for},
    http::ask,
    lab::Lab,
    needs,
    netns::Netns,
    require,
};
use serde_json::Value;

/// Children of a data path that was not told otherwise.
const MAX_CHILDREN: u32 = 4096;

/// What the kernel counts itself.
const DROPPED: &str = "macvlan_master_kernel_rx_dropped_packets_total{master=\"eth0\"}";

#[test]
fn scraped_counters_are_those_of_stats() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic", "--tc", "clsact"]] {
        let lab = Lab::new();
        let _children = busy_children(&lab, args);
        let exporter = Exporter::by_command(&lab);
        let (scraped, told) = at_rest(&lab, &exporter);
        for series in [
            "child_receive_packets_total{master=\"eth0\",mac=\"02:00:00:00:01:01\",path=\"host\"}",
            "child_transmit_bytes_total{master=\"eth0\",mac=\"02:00:00:00:01:01\",path=\"wire\"}",
            "child_receive_bytes_total{master=\"eth0\",mac=\"02:00:00:00:01:02\",path=\"sibling\"}",
            "child_drop_packets_total{master=\"eth0\",mac=\"02:00:00:00:01:03\",reason=\"isolated\"}",
            "master_unknown_unicast_packets_total{master=\"eth0\"}",
            "master_flood_bytes_total{master=\"eth0\",origin=\"wire\"}",
        ] {
            let value = scraped.get(&format!("macvlan_{series}"));
            assert!(value.is_some_and(|value| value > 0.0), "{series} is {value:?} after {args:?}");
        }
        assert_eq!(scraped.counters(), told, "{args:?}");
        let stats = lab.ctl(&["-j", "stats", "eth0"]).succeeded().json();
        assert_eq!(scraped.get(DROPPED), stats[0]["kernel_rx_dropped"].as_f64(), "{args:?}");
    }
}

#[test]
fn identity_is_that_of_status() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Private);
    let _attached = Attached::new(&lab, &["--xdp", "off"]);
    let scraped = Exporter::start(&lab).scrape_until("the child's identity", has_identity);
    let info = scraped.of_metric("macvlan_child_info").next().or_fail("find a child").0;
    assert_eq!(
        info,
        format!(
            "macvlan_child_info{{master=\"eth0\",mac=\"{}\",container=\"\",mode=\"private\",kind=\"macvlan\",\
             owned=\"false\"}}",
            web.mac
        )
    );
    let version = env!("CARGO_PKG_VERSION");
    let datapath = "master=\"eth0\",datapath=\"bpf\",demux=\"tc\",hairpin=\"tcx\"";
    let series = format!("macvlan_datapath_info{{{datapath},version=\"{version}\"}}");
    assert_eq!(scraped.get(&series), Some(1.0), "{scraped:#?}");
    for (limit, value) in [("", 1.0), ("max_", f64::from(MAX_CHILDREN))] {
        let series = format!("macvlan_bpf_map_{limit}entries{{master=\"eth0\",map=\"MACVLAN_CHILD\"}}");
        assert_eq!(scraped.get(&series), Some(value));
    }
}

/// Whether it is known which container the children are in, or that they are in none.
fn has_identity(samples: &Samples) -> bool {
    samples.of_metric("macvlan_child_info").next().is_some()
}

#[test]
fn children_that_start_again_keep_their_series() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let macs = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 7, last]));
    // As an engine does it: another namespace and another interface each time, the same MAC.
    let start = |round: usize| {
        macs.map(|mac| {
            let ns = Netns::new();
            let child = format!("e{round},netns={},mac={mac}", ns.path().display());
            lab.ctl(&["child", "add", "eth0", &child]).succeeded();
            ns
        })
    };
    let exporter = Exporter::by_command(&lab);
    let mut series = BTreeSet::new();
    let mut of_children = 0;
    for round in 0..7 {
        let namespaces = start(round);
        let is_up = |samples: &Samples| samples.of_metric("macvlan_child_info").count() == 2;
        let samples = exporter.scrape_until("both children", is_up);
        let named: Vec<String> =
            samples.0.into_keys().filter(|series| series.contains("mac=\"02:00:00:00:07")).collect();
        of_children = named.len();
        series.extend(named);
        drop(namespaces);
        exporter.scrape_until("no children", |samples| !has_identity(samples));
    }
    let infos = series.iter().filter(|series| series.starts_with("macvlan_child_info{")).count();
    assert_eq!((infos, series.len()), (2, of_children), "{series:#?}");
}

#[test]
fn a_master_that_is_missing_or_down_is_shown_and_is_not_ready() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let exporter = Exporter::by_command_of(&lab, &["eth0", "eth7"]);
    let ready = |master: &str| format!("macvlan_master_ready{{master=\"{master}\"}}");
    let readiness = || ask(&lab.host.ns, exporter.address, "GET /readyz").or_fail("ask for the readiness");
    let says = |wanted: &str| {
        wait_for(wanted, || (readiness().body == wanted).then_some(()));
        let is_ready = wanted == "ok\n";
        assert_eq!(readiness().status, if is_ready { 200 } else { 503 });
        let is_told = |samples: &Samples| {
            let is = |master: &str| samples.get(&ready(master));
            let not = |master: &str| wanted.contains(&format!("{master}: "));
            ["eth0", "eth7"].iter().all(|master| is(master) == Some(if not(master) { 0.0 } else { 1.0 }))
        };
        exporter.scrape_until(wanted, is_told);
    };
    says("eth7: no such device\n");
    lab.host.ns.ip("link add eth7 type veth peer name other7");
    says("eth7: it is down\n");
    lab.host.ns.ip("link set eth7 up");
    says("ok\n");
    lab.host.ns.ip("link set eth0 down");
    says("eth0: it is down\n");
    lab.host.ns.ip("link set eth0 up");
    lab.host.ns.ip("link del eth7");
    says("eth7: no such device\n");
    assert_eq!(ask(&lab.host.ns, exporter.address, "GET /healthz").or_fail("ask for health").status, 200);
}

#[test]
fn a_master_that_the_kernel_carries_has_no_counters_of_ours() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let scraped = Exporter::start(&lab).scrape();
    assert_eq!(scraped.counters(), [], "{scraped:#?}");
    assert!(scraped.get(DROPPED).is_some(), "{scraped:#?}");
    assert_eq!(scraped.of_metric("macvlan_child_info").count(), 1);
    assert_eq!(scraped.of_metric("macvlan_datapath_degraded").count(), 2);
    assert_eq!(scraped.of_metric("macvlan_datapath_readable").count(), 0);
    let up = format!("macvlan_child_up{{master=\"eth0\",mac=\"{}\"}}", web.mac);
    assert_eq!(scraped.get(&up), Some(1.0));
}

#[test]
fn programs_tell_how_long_they_ran() {
    needs!(require::lab, require::binary);
    // Counting ends with this descriptor.
    let _counting = enable_stats(KernelStats::RunTime).or_fail("have the kernel count program runs");
    for (args, programs) in [
        (&["--xdp", "off"][..], &["macvlan_in", "macvlan_out"][..]),
        (&["--xdp", "native"], &["macvlan_in", "macvlan_out", "macvlan_xdp"]),
        (&["--xdp", "generic", "--tc", "clsact"], &["macvlan_in", "macvlan_out", "macvlan_xdp"]),
    ] {
        let lab = Lab::new();
        let _children = busy_children(&lab, args);
        let scraped = Exporter::start(&lab).scrape();
        assert_eq!(scraped.of_metric("macvlan_bpf_prog_run_count_total").count(), programs.len(), "{args:?}");
        for program in programs {
            let get = |unit: &str| {
                let labels = format!("{{master=\"eth0\",program=\"{program}\"}}");
                scraped.get(&format!("macvlan_bpf_prog_run_{unit}_total{labels}")).or_fail("find a program")
            };
            let (runs, seconds) = (get("count"), get("seconds"));
            assert!(runs > 0.0 && seconds > 0.0, "{program} of {args:?}: {runs} runs, {seconds} s");
            // Bytes or nanoseconds would be off by far more than a busy machine is.
            assert!(seconds / runs < 0.01, "{program} of {args:?}: {runs} runs, {seconds} s");
        }
    }
}

#[test]
fn a_full_map_is_scraped_whole() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "off"]).succeeded();
    lab.mounts().enter(|| fill(MAX_CHILDREN));
    let exporter = Exporter::start(&lab);
    let start = Instant::now();
    let text = exporter.text();
    let took = start.elapsed();
    let scraped = Samples::of(&text);
    println!("{} bytes of {MAX_CHILDREN} children in {took:?}", text.len());

    let entries = "macvlan_bpf_map_entries{master=\"eth0\",map=\"MACVLAN_CHILD\"}";
    assert_eq!(scraped.get(entries), Some(f64::from(MAX_CHILDREN)));
    for (metric, series) in [
        ("child_receive_packets", 3),
        ("child_receive_bytes", 3),
        ("child_transmit_packets", 3),
        ("child_transmit_bytes", 3),
        ("child_drop_packets", DROP_REASONS.len()),
        ("child_drop_bytes", DROP_REASONS.len()),
    ] {
        let name = format!("macvlan_{metric}_total");
        assert_eq!(scraped.of_metric(&name).count(), series * MAX_CHILDREN as usize, "{name}");
    }
    for number in [0, 1, 255, 256, MAX_CHILDREN - 1] {
        assert_eq!(scraped.received(numbered(number)), Some(f64::from(number)), "child {number}");
    }
    // Prometheus gives up on a scrape after ten seconds.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn promtool_finds_no_fault_in_a_scrape() {
    needs!(require::lab, require::binary, require::prometheus);
    let lab = Lab::new();
    let _children = busy_children(&lab, &[]);
    let text = Exporter::by_command(&lab).text();
    let (reader, mut writer) = std::io::pipe().or_fail("make a pipe");
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(reader);
    let checked = std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut writer, text.as_bytes()));
        let checked = output(&mut promtool);
        drop(promtool);
        checked
    });
    let checked = checked.succeeded();
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", ""));
}

/// A scrape, and the counters of `stats` at the same time: nothing was counted between.
#[track_caller]
fn at_rest(lab: &Lab, exporter: &Exporter) -> (Samples, Vec<(String, f64)>) {
    let stats = || told(&lab.ctl(&["-j", "stats", "eth0"]).succeeded().json());
    let start = Instant::now();
    loop {
        let (before, scraped, after) = (stats(), exporter.scrape(), stats());
        // A text may be a moment old, so one that is equal is taken, until patience runs out.
        if before == after && (scraped.counters() == after || start.elapsed() > PATIENCE / 4) {
            return (scraped, after);
        }
        assert!(start.elapsed() < PATIENCE, "the lab does not come to rest");
    }
}

/// The same counters from `stats -j`, under the names they have in a scrape, sorted.
fn told(stats: &Value) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for master in stats.as_array().or_fail("read `stats -j`") {
        let name = &master["ifname"];
        let mut add = |metric: String, labels: String, pair: &Value| {
            for unit in ["packets", "bytes"] {
                let value = pair[unit].as_f64().or_fail(format!("read {unit} of {pair}"));
                all.push((format!("macvlan_{metric}_{unit}_total{{master={name}{labels}}}"), value));
            }
        };
        add("master_unknown_unicast".into(), String::new(), &master["unknown_unicast"]);
        add("master_copy_failed".into(), String::new(), &master["copy_failed"]);
        for (metric, label, key) in [("flood", "origin", "flood"), ("drop", "reason", "drops")] {
            for (value, pair) in master[key].as_object().or_fail("read counters of the master") {
                add(format!("master_{metric}"), format!(",{label}=\"{value}\""), pair);
            }
        }
        for child in master["children"].as_array().or_fail("read children") {
            let mac = &child["address"];
            for path in ["wire", "host", "sibling"] {
                for (way, metric) in [("rx", "receive"), ("tx", "transmit")] {
                    let labels = format!(",mac={mac},path=\"{path}\"");
                    add(format!("child_{metric}"), labels, &child[path][way]);
                }
            }
            for (reason, pair) in child["drops"].as_object().or_fail("read drops") {
                add("child_drop".into(), format!(",mac={mac},reason=\"{reason}\""), pair);
            }
        }
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Puts so many children into the map, as if they had received as many frames as their number.
fn fill(children: u32) {
    let pins = only_pins().or_fail("find a pin directory");
    let map = MapData::from_pin(pins.join(names::CHILDREN)).or_fail("open the children map");
    let mut map: PerCpuHashMap<_, u64, ChildEntry> =
        Map::PerCpuHashMap(map).try_into().or_fail("take the children map for what it is");
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).or_fail("count the CPUs");
    for number in 0..children {
        let received = Count { packets: number.into(), bytes: u64::from(number) * 60 };
        let counters =
            ChildCounters { rx: [Count::default(), received, Count::default()], ..Default::default() };
        let mut shares = vec![ChildEntry { slot: number, ..Default::default() }; cpus];
        shares[0].counters = counters;
        // A burst finds the kernel's pool empty at times (`bpf_mem_alloc`).
        wait_for("room in the children map", || {
            let shares = PerCpuValues::try_from(shares.clone()).or_fail("make a value for each CPU");
            map.insert(numbered(number).key(), shares, 0).ok()
        });
    }
}

fn numbered(number: u32) -> Mac {
    let [_, _, high, low] = number.to_be_bytes();
    Mac::new([2, 0, 0, 7, high, low])
}
