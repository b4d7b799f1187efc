use std::collections::BTreeMap;

use roxmltree::{Document, ParsingOptions};

use crate::bench::{
    contender::{CONTENDERS, Described},
    machine::Machine,
    page::*,
    path::Path,
    quantity,
    report::{Failure, figures},
    rounds::Column,
};

/// A report of made-up figures, with names that would break out of their place.
fn report() -> Report {
    let hostile = "<script>alert(\"x\")</script> & co\u{1b}";
    let round = |values: &[f64]| Ok(vec![values.to_vec(), values.iter().map(|value| value * 1.2).collect()]);
    let column = |contender, children, values: &[f64]| Column { contender, children, rounds: round(values) };
    let (mut all, _) = figures(
        &quantity::UDP_64,
        Some(Path::WireChild),
        &[
            column("tc", None, &[9e5, 0.1]),
            column("macvlan", None, &[1e6, 0.0]),
            column("veth", None, &[2e6, 0.0]),
        ],
    );
    let sizes = [
        column("tc", Some(1), &[3e-7]),
        column("tc", Some(4000), &[3.1e-7]),
        column("macvlan", Some(1), &[2.9e-7]),
        column("macvlan", Some(4000), &[2.9e-5]),
    ];
    all.extend(figures(&quantity::FRAME_COST, Some(Path::WireChild), &sizes).0);
    let contenders = CONTENDERS.iter().map(|contender| Described {
        name: contender.name,
        title: contender.title,
        ours: contender.is_ours(),
        limit: contender.is_limit(),
        missing: (contender.name == "ipvlan").then(|| hostile.into()),
    });
    Report {
        version: "0.1.0",
        date: "2026-01-02T03:04:05Z".into(),
        command: format!("macvlan-ctl bench --html {hostile}"),
        quick: true,
        rounds: 2,
        took: 1.0,
        machine: Machine {
            cpu: hostile.into(),
            cpus: 2,
            virtualized: true,
            memory: 1 << 30,
            kernel: "6.18".into(),
            kernel_version: "#1".into(),
            arch: "x86_64".into(),
            driver: Some("veth".into()),
            offloads: vec!["rx-gro".into()],
            mitigations: BTreeMap::from([("spectre_v2".into(), "Mitigation: all".into())]),
            settings: BTreeMap::new(),
            load: Some(0.5),
        },
        contenders: contenders.collect(),
        figures: all,
        failures: vec![Failure {
            workload: "tcp-rr",
            path: Some(Path::HostChild),
            children: None,
            contender: "shim",
            reason: hostile.into(),
        }],
    }
}

#[test]
fn the_page_is_well_formed_and_asks_for_nothing_from_elsewhere() {
    let page = page(&report());
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&page, options).unwrap();
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    assert_eq!(ids, ["limit-wire-child-udp-64", "limit-wire-child-frame-cost"], "each is there once");
    let named = |name: &str| document.descendants().filter(|node| node.tag_name().name() == name).count();
    assert_eq!(named("figure"), 2);
    assert_eq!(named("script"), 0, "text stays text");
    assert_eq!(named("img") + named("link"), 0);
    for attribute in document.descendants().flat_map(|node| node.attributes()) {
        assert!(!["src", "href"].contains(&attribute.name()), "{}", attribute.value());
    }
    for said in [
        "2026-01-02T03:04:05Z",
        "macvlan-ctl, TC: ",
        "4000 children: ",
        "ratios by round",
        "prefers-color-scheme:dark",
        "took no part",
        "tcp-rr, host to child",
        "spectre v2",
        "11.0 % lost",
        "How to read it",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn every_chart_is_a_file_of_its_own_and_nothing_leaves_it() {
    let charts = charts(&report());
    let names: Vec<&str> = charts.iter().map(|chart| chart.name.as_str()).collect();
    assert_eq!(names, ["wire-child-udp-64.svg", "wire-child-frame-cost.svg"]);
    for chart in &charts {
        let document = Document::parse(&chart.svg).unwrap();
        let view = document.root_element().attribute("viewBox").unwrap();
        let size: Vec<f64> = view.split(' ').map(|number| number.parse().unwrap()).collect();
        for node in document.descendants() {
            for (name, limit) in [("x", size[2]), ("y", size[3]), ("cx", size[2]), ("cy", size[3])] {
                let value: f64 = node.attribute(name).unwrap_or("0").parse().unwrap();
                assert!((0.0..=limit).contains(&value), "{name}={value} in {}", chart.name);
            }
        }
        // A bar for each contender, or a line.
        let drawn = |node: &roxmltree::Node<'_, '_>| {
            node.attribute("rx") == Some("2") || node.attribute("class") == Some("l")
        };
        assert_eq!(
            document.descendants().filter(drawn).count(),
            if chart.name.contains("udp") { 3 } else { 2 }
        );
    }
}

#[test]
fn every_chart_has_a_chapter() {
    for chart in charts(&report()) {
        assert_eq!(chapter(&chart.name), "wire-child");
    }
    assert_eq!(chapter("flood.svg"), "flood");
    assert_eq!(chapter("attach.svg"), "control");
}
