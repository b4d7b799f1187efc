//! What the exporter makes of pins that come, go, or are not what they should be.

use std::fs;

use macvlan_common::{child::Mode, names};
use macvlan_tests::{
    exporter::{Exporter, busy_children, only_pins},
    fail::OrFail as _,
    lab::Lab,
    needs, require,
    talk::ping,
};

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
fn the_xdp_program_goes_with_its_data_path() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    lab.ctl(&["attach", "eth0", "--require-bpf", "--xdp", "native"]).succeeded();
    let pinned = || {
        lab.mounts().enter(|| {
            let pins = only_pins().or_fail("find a pin directory");
            fs::exists(pins.join(names::XDP)).or_fail("look for a pin")
        })
    };
    assert!(pinned());
    lab.ctl(&["attach", "eth0", "--xdp", "off"]).succeeded();
    assert!(!pinned());
    lab.ctl(&["attach", "eth0", "--xdp", "generic"]).succeeded();
    assert!(pinned());
    assert_eq!(Exporter::start(&lab).scrape().of_metric("macvlan_bpf_prog_run_count_total").count(), 3);
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
    assert!(exporter.scrape().received(child.mac).is_some_and(|packets| packets > 0.0));

    lab.ctl(&["detach", "eth0"]).succeeded();
    let scraped = exporter.scrape_until("the counters to go", |samples| samples.counters().is_empty());
    assert_eq!(scraped.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(0.0));
    assert!(scraped.get("macvlan_exporter_scrape_errors_total").is_some_and(|errors| errors > 0.0));
    assert_eq!(scraped.of_metric("macvlan_child_info").count(), 1);

    lab.ctl(&["attach", "eth0", "--require-bpf"]).succeeded();
    let scraped = exporter.scrape_until("the counters to come", |samples| !samples.counters().is_empty());
    assert_eq!(scraped.received(child.mac), Some(0.0), "counters of maps that are gone");
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
        lab.mounts().enter(|| {
            let pins = only_pins().or_fail("find a pin directory");
            fs::rename(pins.join(from), pins.join(to)).or_fail("move a pin");
        });
        let scraped = exporter.scrape();
        assert_eq!(scraped.get("macvlan_datapath_readable{master=\"eth0\"}"), Some(0.0), "{from} as {to}");
        assert!(scraped.counters().is_empty(), "{from} as {to}");
    }
}
