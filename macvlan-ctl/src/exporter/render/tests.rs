//! Rendering, to the letter.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use macvlan_common::{
    counters::{ChildCounters, Count, MasterCounters},
    mac::Mac,
};
use macvlan_core::{
    datapath::bpf::reader::{ProgramRuns, Usage},
    kernel::netlink::{kind::Kind, link::Totals},
    model::{
        container::Container,
        counters::Counters,
        description::{Carrier, Degraded, Demux, Hairpin, HostFlood},
        options::{DropUnknown, Isolation},
        status::{ChildStatus, MasterStatus},
    },
    policy::status::PolicyStatus,
};

use crate::exporter::{
    render::*,
    scrape::{MasterScrape, Reading},
};

const WEB: Mac = Mac::new([2, 0, 0, 0, 0, 0x17]);

fn count(packets: u64) -> Count {
    Count { packets, bytes: packets * 100 }
}

fn child() -> ChildStatus {
    ChildStatus {
        addresses: Vec::new(),
        wire_addresses: Vec::new(),
        ifname: "eth0".into(),
        ifindex: 7,
        netns: Some("web".into()),
        netnsid: Some(3),
        address: WEB,
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
        unsettled: true,
        policy: PolicyStatus {
            rate_rx: Some("1mbit+2kpps".parse().unwrap()),
            rate_tx: Some("12bit".parse().unwrap()),
            ..PolicyStatus::default()
        },
        owned: false,
        container: Some(Container {
            engine: "docker",
            id: "c0ffee".into(),
            name: Some("my \"web\"\n".into()),
        }),
    }
}

pub fn attached() -> MasterScrape {
    let status = MasterStatus {
        ifname: "eno1".into(),
        ifindex: 2,
        address: Mac::new([2, 0, 0, 0, 0, 1]),
        netns: None,
        datapath: Carrier::Bpf,
        demux: Demux::Tc,
        hairpin: Hairpin::Tcx,
        ingress: true,
        directed_neigh: true,
        host_flood: HostFlood::Device,
        storm_limit: std::num::NonZero::new(5000),
        degraded: vec![Degraded::new("demux", "xdp-native", "tc", "not supported by the driver")],
        drop_unknown: DropUnknown::Off,
        vepa_switch: false,
        isolation: Isolation::Off,
        single_mac: true,
        children: vec![child()],
    };
    let counters = ChildCounters {
        rx: [count(1), count(2), count(3)],
        tx: [count(4), count(5), count(6)],
        drops: [
            count(7),
            count(8),
            count(20),
            count(21),
            count(16),
            count(24),
            count(25),
            count(26),
            count(30),
            count(31),
        ],
    };
    let master = MasterCounters {
        unknown_unicast: count(9),
        flood: [count(10), count(11), count(12)],
        drops: [
            count(13),
            count(14),
            count(22),
            count(23),
            count(17),
            count(27),
            count(28),
            count(29),
            count(32),
            count(33),
        ],
        copy_failed: count(15),
    };
    let reading = Reading::Whole {
        counters: Box::new(Counters {
            master: Some(master),
            children: [(WEB, counters)].into(),
            ..Counters::default()
        }),
        usage: vec![
            Usage { map: "MACVLAN_CHILD", entries: 1, max_entries: 4096 },
            Usage { map: "MACVLAN_HOLDER", entries: 5, max_entries: 16384 },
        ],
        wire_addresses: [(WEB, 3)].into(),
        programs: vec![ProgramRuns { program: "macvlan_in", runs: 16, time: Duration::from_nanos(1700) }],
        contested: 2,
        is_current: true,
    };
    MasterScrape {
        status,
        totals: BTreeMap::new(),
        is_up: true,
        contests: 34,
        unadopted: 1,
        unnamed: BTreeSet::new(),
        reading,
        rx_dropped: Some(30),
    }
}

/// One with no program at ingress.
fn lean(demux: Demux) -> MasterScrape {
    let totals = Totals { rx: count(20), tx: count(21) };
    let mut master = MasterScrape { totals: [(WEB, totals)].into(), ..attached() };
    (master.status.ifname, master.status.ingress, master.status.demux) = ("eno2".into(), false, demux);
    master
}

fn unread(reading: Reading) -> MasterScrape {
    MasterScrape { reading, ..attached() }
}

fn written(masters: Vec<MasterScrape>) -> String {
    let duration = Duration::from_millis(2);
    let snapshot = Scrape { masters, waiting: vec!["eth7".into()], failures: 0, duration };
    let tallies = Tallies::default();
    tallies.events.count();
    render(&snapshot, &tallies, OwnCounts { errors: 18, evicted: 19 }).unwrap()
}

/// Samples alone, without what is said about them.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_metric_is_written_with_all_its_labels() {
    let expected = include_str!("golden.txt").replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(written(vec![attached()]), expected);
}

#[test]
fn every_declared_metric_is_written_in_the_declared_order() {
    let text = written(vec![attached(), lean(Demux::Tc)]);
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let declared: Vec<_> = metrics::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(typed.collect::<Vec<_>>(), declared);
}

#[test]
fn what_cannot_be_known_is_absent_rather_than_zero() {
    for reading in [Reading::Unpinned, Reading::Failed("gone".into())] {
        let failed = matches!(reading, Reading::Failed(_));
        let text = written(vec![unread(reading)]);
        let of_master = samples(&text).into_iter().filter(|line| line.contains("{master=\"eno1\""));
        let names: BTreeSet<_> = of_master.filter_map(|line| line.split('{').next()).collect();
        let mut expected = BTreeSet::from([
            "macvlan_child_elsewhere",
            "macvlan_child_host_access",
            "macvlan_child_info",
            "macvlan_child_policy_info",
            "macvlan_child_rate_limit_bytes_per_second",
            "macvlan_child_rate_limit_packets_per_second",
            "macvlan_child_unsettled",
            "macvlan_child_up",
            "macvlan_datapath_degraded",
            "macvlan_datapath_info",
            "macvlan_master_children",
            "macvlan_master_info",
            "macvlan_master_mac_conflicts",
            "macvlan_master_ready",
            "macvlan_master_unadopted_children",
            "macvlan_master_settings_info",
            "macvlan_master_storm_limit_packets",
            "macvlan_master_kernel_rx_dropped_packets_total",
        ]);
        if failed {
            expected.insert("macvlan_datapath_readable");
            assert!(text.contains("\nmacvlan_datapath_readable{master=\"eno1\"} 0\n"));
        }
        assert_eq!(names, expected);
        assert!(text.contains("hairpin=\"tcx\",version=\"\"} 1\n"));
    }
}

#[test]
fn what_only_the_kernel_counts_is_of_all_paths() {
    let totals = Totals { rx: count(20), tx: count(21) };
    let mut master = MasterScrape { totals: [(WEB, totals)].into(), ..unread(Reading::Unpinned) };
    master.status.datapath = Carrier::Kernel;
    let text = written(vec![master]);
    let counted: Vec<_> = samples(&text).into_iter().filter(|line| line.contains(",path=")).collect();
    assert_eq!(counted.len(), 4, "{counted:#?}");
    assert!(counted.iter().all(|line| line.contains("path=\"all\"")), "{counted:#?}");
    assert!(counted[0].starts_with("macvlan_child_receive_packets_total{") && counted[0].ends_with(" 20"));
    assert!(counted[2].starts_with("macvlan_child_transmit_packets_total{") && counted[2].ends_with(" 21"));
}

#[test]
fn where_no_program_is_at_ingress_devices_count_beside_the_paths_that_are_counted() {
    for (demux, paths) in [(Demux::Tc, 1), (Demux::XdpNative, 2)] {
        let text = written(vec![lean(demux)]);
        let of = |start: &str| samples(&text).into_iter().filter(|line| line.starts_with(start)).count();
        let web = format!("{{master=\"eno2\",mac=\"{WEB}\"");
        assert_eq!(of(&format!("macvlan_child_receive_packets_total{web}")), paths, "{text}");
        assert!(!text.contains("path=\"sibling\"") && !text.contains("path=\"all\""), "{text}");
        assert!(text.contains(&format!("macvlan_child_device_receive_packets_total{web}}} 20\n")), "{text}");
    }
}

#[test]
fn without_masters_there_is_still_something_to_scrape() {
    let text = written(Vec::new());
    let with_master: Vec<_> = samples(&text).into_iter().filter(|line| line.contains("master=")).collect();
    assert_eq!(with_master, ["macvlan_master_ready{master=\"eth7\"} 0"]);
    assert!(text.contains("\nmacvlan_follower_events_total 1\n"));
}

#[test]
fn two_children_of_one_mac_are_one_identity_that_of_the_child_that_is_up() {
    let mut master = attached();
    let down = |netnsid, ifname: &str| ChildStatus {
        up: false,
        netnsid,
        ifname: ifname.into(),
        container: None,
        ..child()
    };
    master.status.children.insert(0, down(Some(1), "thief"));
    master.status.children.push(down(None, "other"));
    let text = written(vec![master]);
    let identities: Vec<_> =
        samples(&text).into_iter().filter(|line| line.starts_with("macvlan_child_info{")).collect();
    assert_eq!(identities.len(), 1, "{identities:#?}");
    assert!(identities[0].contains("container=\"my"), "{identities:#?}");
    assert!(text.contains("\nmacvlan_master_mac_conflicts{master=\"eno1\"} 1\n"));
    assert!(text.contains("\nmacvlan_master_children{master=\"eno1\"} 3\n"));
}

#[test]
fn a_child_whose_container_nobody_has_asked_for_is_counted_and_has_no_identity_yet() {
    let text = written(vec![MasterScrape { unnamed: [WEB].into(), ..attached() }]);
    assert!(!text.contains("macvlan_child_info{"), "{text}");
    assert!(text.contains("\nmacvlan_child_up{master=\"eno1\",mac=\"02:00:00:00:00:17\"} 1\n"), "{text}");
}

#[test]
fn no_series_is_written_twice() {
    let mut master = attached();
    let again = master.status.degraded.clone();
    master.status.degraded.extend(again);
    master.status.degraded.push(Degraded::new("demux", "xdp-native", "tc", "another reason"));
    let other =
        MasterScrape { status: MasterStatus { ifname: "eno2".into(), ..attached().status }, ..attached() };
    let text = written(vec![master, other]);
    let series: Vec<_> = samples(&text).into_iter().filter_map(|line| line.rsplit_once(' ')).collect();
    let distinct: BTreeSet<_> = series.iter().map(|(series, _)| series).collect();
    assert_eq!(distinct.len(), series.len());
}

#[test]
fn programs_of_another_version_are_told_apart() {
    let mut master = attached();
    if let Reading::Whole { is_current, .. } = &mut master.reading {
        *is_current = false;
    }
    assert!(written(vec![master]).contains("hairpin=\"tcx\",version=\"other\"} 1\n"));
}
