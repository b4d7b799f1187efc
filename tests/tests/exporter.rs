//! What is scraped of a real data path.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::{
    maps::{Map, MapData, PerCpuHashMap, PerCpuValues},
    sys::{Stats as KernelStats, enable_stats},
};
use macvlan_common::{
    child::{ChildEntry, Mode},
    counters::{ChildCounters, Count},
    mac::Mac,
    names,
};
use macvlan_tests::{
    attached::Attached,
    cli::output,
    exporter::{Exporter, Samples},
    fail::{OrFail as _, PATIENCE, wait_for},
    frames::{self, Marker},
    lab::{Lab, Station},
    mounts::BPFFS,
    needs, require,
    sniff::Injector,
    talk::ping,
};
use serde_json::Value;

/// Children of a data path that was not told otherwise.
const MAX_CHILDREN: u32 = 4096;

#[test]
fn scraped_counters_are_those_of_stats() {
    needs!(require::lab, require::binary);
    for args in [&[][..], &["--xdp", "native"], &["--xdp", "generic", "--tc", "clsact"]] {
        let lab = Lab::new();
        let _children = busy_children(&lab, args);
        let exporter = Exporter::start(&lab);
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
        assert_eq!(counters(&scraped), told, "{args:?}");
    }
}

#[test]
fn identity_is_that_of_status() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Private);
    lab.mounts().name_netns("a \"name\" \\ with everything", &web.ns);
    let _attached = Attached::new(&lab, &["--xdp", "off"]);
    let scraped = Exporter::start(&lab).scrape();
    let info = scraped.of_metric("macvlan_child_info").next().or_fail("find a child").0;
    let netnsid = lab.ctl(&["-j", "status"]).json()[0]["children"][0]["netnsid"].clone();
    assert_eq!(
        info,
        format!(
            "macvlan_child_info{{master=\"eth0\",mac=\"{}\",child=\"web\",mode=\"private\",kind=\"macvlan\",\
             netns=\"a \\\"name\\\" \\\\ with everything\",netnsid=\"{netnsid}\",container_engine=\"\",\
             container_id=\"\",container_name=\"\",owned=\"false\"}}",
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

#[test]
fn a_master_that_the_kernel_carries_has_no_counters() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let web = lab.child("web", Mode::Bridge);
    let scraped = Exporter::start(&lab).scrape();
    assert!(counters(&scraped).is_empty(), "{scraped:#?}");
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
            // Octets or nanoseconds would be off by far more than a busy machine is.
            assert!(seconds / runs < 0.01, "{program} of {args:?}: {runs} runs, {seconds} s");
        }
    }
}

#[test]
fn the_xdp_program_goes_with_its_data_path() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "native"]).succeeded();
    let pinned = || lab.mounts().enter(|| fs::exists(pins().join(names::XDP)).or_fail("look for a pin"));
    assert!(pinned());
    lab.ctl(&["attach", "eth0", "--xdp", "off"]).succeeded();
    assert!(!pinned());
    lab.ctl(&["attach", "eth0", "--xdp", "generic"]).succeeded();
    assert!(pinned());
    assert_eq!(Exporter::start(&lab).scrape().of_metric("macvlan_bpf_prog_run_count_total").count(), 3);
}

#[test]
fn no_capability_but_that_for_bpf_is_needed() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let _children = busy_children(&lab, &["--xdp", "native"]);
    let whole = Exporter::start(&lab).scrape();
    let poor = Exporter::with_cap_bpf_alone(&lab).scrape();
    assert!(poor.0.keys().eq(whole.0.keys()), "{poor:#?} is less than {whole:#?}");
    assert_eq!(poor.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(1.0));
}

#[test]
fn a_data_path_that_goes_takes_its_counters_and_one_that_comes_brings_them() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let child = lab.child("web", Mode::Bridge);
    lab.introduce(&[&lab.host, &child]);
    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    assert!(ping(&lab.host, child.ip.into()));
    let exporter = Exporter::start(&lab);
    assert!(received(&exporter.scrape(), child.mac).is_some_and(|packets| packets > 0.0));

    lab.ctl(&["detach", "eth0"]).succeeded();
    let scraped = exporter.scrape_until("the counters to go", |samples| counters(samples).is_empty());
    assert_eq!(scraped.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(0.0));
    assert!(scraped.get("macvlan_exporter_scrape_errors_total").is_some_and(|errors| errors > 0.0));
    assert_eq!(scraped.of_metric("macvlan_child_info").count(), 1);

    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let scraped = exporter.scrape_until("the counters to come", |samples| !counters(samples).is_empty());
    assert_eq!(received(&scraped, child.mac), Some(0.0), "counters of maps that are gone");
    assert_eq!(scraped.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(1.0));
}

#[test]
fn pins_of_something_else_cost_counters_and_no_more() {
    needs!(require::lab, require::binary);
    // What is moved where: a map of another shape, a program, a link, in place of a map.
    for (from, to) in [
        (names::CONFIG, names::CHILDREN),
        (names::CHILDREN, names::TOTALS),
        (names::INGRESS, names::RECORD),
        (names::EGRESS, names::CHILDREN),
        ("link_egress", names::TOTALS),
        (names::RECORD, names::CONFIG),
        (names::POLICY, names::INGRESS),
    ] {
        let lab = Lab::new();
        let _child = lab.child("web", Mode::Bridge);
        lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "off"]).succeeded();
        let exporter = Exporter::start(&lab);
        lab.mounts().enter(|| fs::rename(pins().join(from), pins().join(to)).or_fail("move a pin"));
        let scraped = exporter.scrape();
        assert_eq!(scraped.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(0.0), "{from} as {to}");
        assert!(counters(&scraped).is_empty(), "{from} as {to}");
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
    println!("{} octets of {MAX_CHILDREN} children in {took:?}", text.len());

    let entries = "macvlan_bpf_map_entries{master=\"eth0\",map=\"MACVLAN_CHILD\"}";
    assert_eq!(scraped.get(entries), Some(f64::from(MAX_CHILDREN)));
    for (metric, series) in [
        ("child_receive_packets", 3),
        ("child_receive_bytes", 3),
        ("child_transmit_packets", 3),
        ("child_transmit_bytes", 3),
        ("child_drop_packets", 2),
        ("child_drop_bytes", 2),
    ] {
        let name = format!("macvlan_{metric}_total");
        assert_eq!(scraped.of_metric(&name).count(), series * MAX_CHILDREN as usize, "{name}");
    }
    for number in [0, 1, 255, 256, MAX_CHILDREN - 1] {
        assert_eq!(received(&scraped, numbered(number)), Some(f64::from(number)), "child {number}");
    }
    // Prometheus gives up on a scrape after ten seconds.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn promtool_finds_no_fault_in_a_scrape() {
    needs!(require::lab, require::binary, require::prometheus);
    let lab = Lab::new();
    let _children = busy_children(&lab, &[]);
    let text = Exporter::start(&lab).text();
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

/// A data path, children, and a bit of everything that is counted of them.
#[track_caller]
fn busy_children(lab: &Lab, args: &[&str]) -> [Station; 3] {
    let (one, two) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
    let private = lab.child("p1", Mode::Private);
    lab.introduce(&[&lab.host, &lab.wire, &one, &two, &private]);
    lab.ctl(&[&["attach", "eth0", "--require-bpf"], args].concat()).succeeded();
    assert!(ping(&lab.host, one.ip.into()));
    assert!(ping(&lab.wire, one.ip.into()));
    assert!(ping(&one, two.ip.into()));
    let isolated = frames::marked(one.mac, private.mac, Marker::new());
    Injector::new(&private.ns, &private.dev).send_times(&isolated, 3);
    let wire = Injector::new(&lab.wire.ns, &lab.wire.dev);
    wire.send(&frames::marked(Mac::new([2, 0, 0, 0, 9, 9]), lab.wire.mac, Marker::new()));
    wire.send(&frames::marked(Mac::BROADCAST, lab.wire.mac, Marker::new()));
    [one, two, private]
}

/// A scrape, and the counters of `stats` at the same time: nothing was counted between.
#[track_caller]
fn at_rest(lab: &Lab, exporter: &Exporter) -> (Samples, Vec<(String, f64)>) {
    let stats = || told(&lab.ctl(&["-j", "stats", "eth0"]).succeeded().json());
    let start = Instant::now();
    loop {
        let (before, scraped, after) = (stats(), exporter.scrape(), stats());
        // A text may be a moment old, so one that is equal is taken, until patience runs out.
        if before == after && (counters(&scraped) == after || start.elapsed() > PATIENCE / 4) {
            return (scraped, after);
        }
        assert!(start.elapsed() < PATIENCE, "the lab does not come to rest");
    }
}

/// The counters of data paths in a scrape, sorted.
fn counters(samples: &Samples) -> Vec<(String, f64)> {
    let is_counter = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        let of_path = name.starts_with("macvlan_child_") || name.starts_with("macvlan_master_");
        of_path && name.ends_with("_total")
    };
    let kept = samples.0.iter().filter(|(series, _)| is_counter(series));
    kept.map(|(series, value)| (series.clone(), *value)).collect()
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

/// Frames that a child received from the host.
fn received(samples: &Samples, mac: Mac) -> Option<f64> {
    let labels = format!("{{master=\"eth0\",mac=\"{mac}\",path=\"host\"}}");
    samples.get(&format!("macvlan_child_receive_packets_total{labels}"))
}

/// The pin directory, seen from within the lab's mounts.
#[track_caller]
fn pins() -> PathBuf {
    let root = PathBuf::from(BPFFS).join("macvlan-ctl");
    let mut directories = fs::read_dir(root).or_fail("list pin directories");
    directories.next().or_fail("find a pin directory").or_fail("list pin directories").path()
}

/// Puts so many children into the map, as if they had received as many frames as their number.
fn fill(children: u32) {
    let map = MapData::from_pin(pins().join(names::CHILDREN)).or_fail("open the children map");
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
