//! Printing: the same structures as JSON, or as tables that fit 80 columns.

use std::io::{self, Write as _};

use anyhow::{Context, Result};
use macvlan_core::model::{
    container::Container,
    description::Carrier,
    keyword::Keyword,
    options::DropUnknown,
    stats::{BothWays, ChildStats, MasterStats, Pair},
    status::{ChildStatus, MasterStatus},
};
use serde::Serialize;
use tabled::{
    builder::Builder,
    settings::{Alignment, Modify, Padding, Style, object::Columns},
};
use textwrap::Options;

/// Columns of a terminal that nobody has widened.
const WIDTH: usize = 80;

/// Narrowest place for a namespace or a container in a table, where other cells take most of a line.
const NARROWEST_HOME: usize = 14;

/// One line of JSON.
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// `status`.
pub fn print_status(json: bool, statuses: &[MasterStatus]) -> Result<()> {
    if json {
        return print_json(statuses);
    }
    let mut out = io::stdout().lock();
    if statuses.is_empty() {
        writeln!(out, "no device has macvlan children")?;
    }
    for (number, status) in statuses.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{} ({}, index {}):", status.ifname, status.address, status.ifindex)?;
        let datapath = if status.datapath == Carrier::Bpf { "bpf" } else { "kernel" };
        let (demux, hairpin) = (status.demux.as_str(), status.hairpin.as_str());
        write!(out, "  datapath {datapath}, demux {demux}, hairpin {hairpin}")?;
        let is_undirected = status.datapath == Carrier::Bpf && !status.directed_neigh;
        write!(out, "{}", if is_undirected { ", neighbour requests to all" } else { "" })?;
        if let Some(limit) = status.storm_limit {
            write!(out, ", storm limit {limit} pps")?;
        }
        writeln!(out)?;
        for part in &status.degraded {
            let text = format!("{} {} instead of {}: {}", part.feature, part.got, part.wanted, part.reason);
            let indents = Options::new(WIDTH).initial_indent("  ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(&text, indents))?;
        }
        if status.drop_unknown != DropUnknown::Off {
            writeln!(out, "  drop-unknown {}", status.drop_unknown.as_str())?;
        }
        if status.vepa_switch {
            writeln!(out, "  the switch is reflective")?;
        }
        if !status.children.is_empty() {
            writeln!(out, "{}", children_table(&status.children))?;
            print_policies(&mut out, &status.children)?;
        }
    }
    Ok(())
}

/// `child list`.
pub fn print_children(json: bool, statuses: &[MasterStatus]) -> Result<()> {
    let children: Vec<&ChildStatus> = statuses.iter().flat_map(|status| &status.children).collect();
    if json {
        return print_json(&children);
    }
    if !children.is_empty() {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", children_table(children.iter().copied()))?;
        print_policies(&mut out, children)?;
    }
    Ok(())
}

/// A line for each child of which more was said than whether it may talk to the host.
fn print_policies<'a>(
    out: &mut impl io::Write,
    children: impl IntoIterator<Item = &'a ChildStatus>,
) -> Result<()> {
    for child in children {
        let phrases = child.policy.phrases();
        if !phrases.is_empty() {
            let text = format!("{}: {}", child.ifname, phrases.join(", "));
            writeln!(out, "{}", textwrap::fill(&text, Options::new(WIDTH).subsequent_indent("  ")))?;
        }
    }
    Ok(())
}

fn children_table<'a>(children: impl IntoIterator<Item = &'a ChildStatus>) -> String {
    let titles = ["CHILD", "NETNS", "MODE", "MAC", "MTU", "STATE", "HOST", "BY"];
    let mut records = vec![titles.map(str::to_owned)];
    for child in children {
        records.push([
            child.ifname.clone(),
            home_cell(child),
            child.mode.to_owned(),
            child.address.to_string(),
            child.mtu.to_string(),
            if child.up { "up" } else { "down" }.to_owned(),
            if child.host_access { "on" } else { "off" }.to_owned(),
            if child.owned { "us" } else { "other" }.to_owned(),
        ]);
    }
    fit(&mut records, 1);
    table(records, 4..5)
}

/// The container or, where there is none, the namespace.
fn home_cell(child: &ChildStatus) -> String {
    match (&child.container, &child.netns, child.netnsid) {
        (Some(container), _, _) => container_cell(container),
        (None, Some(name), _) => name.strip_prefix("/run/docker/netns/").unwrap_or(name).to_owned(),
        (None, None, Some(id)) => format!("nsid {id}"),
        (None, None, None) => "-".to_owned(),
    }
}

/// `docker:web`; without a name, the short id that engines show.
fn container_cell(container: &Container) -> String {
    const SHORT: usize = 12;
    let short = container.id.get(..SHORT).unwrap_or(&container.id);
    format!("{}:{}", container.engine, container.name.as_deref().unwrap_or(short))
}

/// Cuts the cells of one column to what the others leave of a line.
fn fit<const COLUMNS: usize>(records: &mut [[String; COLUMNS]], column: usize) {
    let width = |column: usize| records.iter().map(|record| record[column].chars().count()).max();
    let others = (0..COLUMNS).filter(|other| *other != column);
    // A blank between any two columns.
    let taken: usize = others.map(|other| width(other).unwrap_or_default() + 1).sum();
    let room = WIDTH.saturating_sub(taken).max(NARROWEST_HOME);
    for record in records {
        let cell = &mut record[column];
        if cell.chars().count() > room {
            *cell = cell.chars().take(room - 1).chain(['~']).collect();
        }
    }
}

/// `stats`: totals, or `per_second` when they are rates.
pub fn print_stats(json: bool, shown: &[MasterStats], per_second: bool) -> Result<()> {
    if json {
        return print_json(shown);
    }
    let per_second = if per_second { "/s" } else { "" };
    let mut out = io::stdout().lock();
    if shown.is_empty() {
        writeln!(out, "no device has macvlan children")?;
    }
    for (number, master) in shown.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        print_master(&mut out, master, per_second)?;
    }
    Ok(())
}

fn print_master(out: &mut impl io::Write, master: &MasterStats, per_second: &str) -> Result<()> {
    let pair =
        |pair: &Pair| format!("{}{per_second} ({}B{per_second})", count(pair.packets), count(pair.bytes));
    writeln!(out, "{}:", master.ifname)?;
    if let Some(dropped) = master.kernel_rx_dropped.filter(|dropped| *dropped > 0) {
        writeln!(
            out,
            "  dropped by the kernel, its broadcast queue full or else {}{per_second}",
            count(dropped)
        )?;
    }
    let (Some(unknown), Some(floods), Some(drops)) = (&master.unknown_unicast, &master.flood, &master.drops)
    else {
        writeln!(out, "  plain kernel macvlan: nothing is counted by path")?;
        if master.children.iter().any(|child| child.stats64.is_some()) {
            writeln!(out, "{}", stats_table(&master.children, per_second))?;
        }
        return Ok(());
    };
    writeln!(out, "  unknown unicast {}", pair(unknown))?;
    for (origin, flood) in floods {
        writeln!(out, "  broadcast and multicast from {origin} {}", pair(flood))?;
    }
    for (reason, dropped) in drops {
        writeln!(out, "  dropped as {reason} {}", pair(dropped))?;
    }
    if let Some(failed) = master.copy_failed.filter(|failed| failed.packets > 0) {
        writeln!(out, "  broadcasts not copied for lack of memory {}", pair(&failed))?;
    }
    if !master.children.is_empty() {
        writeln!(out, "{}", stats_table(&master.children, per_second))?;
    }
    Ok(())
}

fn stats_table(children: &[ChildStats], per_second: &str) -> String {
    let title = |text: &str| format!("{text}{per_second}");
    let mut records = vec![[
        "CHILD".to_owned(),
        "PATH".to_owned(),
        title("RX PKTS"),
        title("RX BYTES"),
        title("TX PKTS"),
        title("TX BYTES"),
    ]];
    for child in children {
        let container = child.container.as_ref().map(container_cell);
        let mut names = [Some(child.ifname.clone()), container].into_iter().flatten();
        let paths = [("wire", child.wire), ("host", child.host), ("sibling", child.sibling)];
        let shown: &[_] = if child.stats64.is_some() { &[("all", child.stats64)] } else { &paths };
        for &(path, counted) in shown {
            let cell = |pick: fn(BothWays) -> u64| counted.map_or("-".to_owned(), |both| count(pick(both)));
            records.push([
                names.next().unwrap_or_default(),
                path.to_owned(),
                cell(|both| both.rx.packets),
                cell(|both| both.rx.bytes),
                cell(|both| both.tx.packets),
                cell(|both| both.tx.bytes),
            ]);
        }
        // Where there are fewer rows than names.
        records.extend(
            names.map(|name| {
                [name, String::new(), String::new(), String::new(), String::new(), String::new()]
            }),
        );
        for (reason, dropped) in child.drops.iter().flatten().filter(|(_, dropped)| dropped.packets > 0) {
            let cells = [count(dropped.packets), count(dropped.bytes)];
            let [packets, bytes] = cells;
            let empty = String::new;
            records.push([empty(), format!("dropped: {reason}"), packets, bytes, empty(), empty()]);
        }
    }
    fit(&mut records, 0);
    table(records, 2..6)
}

fn table<const COLUMNS: usize>(
    records: Vec<[String; COLUMNS]>,
    right_aligned: std::ops::Range<usize>,
) -> String {
    let mut rows = Builder::new();
    records.into_iter().for_each(|record| rows.push_record(record));
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 1, 0, 0));
    table.with(Modify::new(Columns::new(right_aligned)).with(Alignment::right()));
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A number in at most eight columns: whole up to seven digits, then with an SI prefix.
fn count(number: u64) -> String {
    if number < 10_000_000 {
        return number.to_string();
    }
    let mut value = number as f64;
    for prefix in ["k", "M", "G", "T", "P"] {
        value /= 1000.0;
        if value < 100_000.0 {
            return format!("{value:.1}{prefix}");
        }
    }
    format!("{:.1}E", value / 1000.0)
}

#[cfg(test)]
mod tests {
    use macvlan_core::policy::status::PolicyStatus;

    use super::*;

    #[test]
    fn numbers_stay_within_eight_columns() {
        for (number, text) in [
            (0, "0"),
            (9_999_999, "9999999"),
            (10_000_000, "10000.0k"),
            (123_456_789, "123.5M"),
            (u64::MAX, "18446.7P"),
        ] {
            assert_eq!(count(number), text);
            assert!(count(number).len() <= 8);
        }
    }

    fn child(packets: u64) -> ChildStats {
        let pair = Pair { packets, bytes: packets * 60 };
        let both = BothWays { rx: pair, tx: pair };
        ChildStats {
            ifname: "web".into(),
            address: "02:00:00:00:00:01".parse().unwrap(),
            container: None,
            stats64: None,
            wire: Some(both),
            host: None,
            sibling: Some(both),
            drops: Some([("isolated", pair)].into()),
        }
    }

    fn container(name: Option<&str>) -> Option<Container> {
        let id = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a".into();
        Some(Container { engine: "docker", id, name: name.map(Into::into) })
    }

    #[test]
    fn a_container_is_shown_by_its_name_or_a_short_id() {
        let cell = |name| container_cell(&container(name).unwrap());
        assert_eq!((cell(Some("web")), cell(None)), ("docker:web".into(), "docker:ed6e59f70b86".into()));
        let mut child = child(1);
        child.container = container(Some("web"));
        let table = stats_table(&[child], "");
        let [_, first, second, ..] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
        assert!(first.starts_with("web        wire"), "{table}");
        assert!(second.starts_with("docker:web host"), "{table}");
    }

    #[test]
    fn the_tables_fit_80_columns() {
        let mut widest = child(u64::MAX / 60);
        widest.ifname = "fifteen-octets!".into();
        widest.container = container(Some(&"a-long-name-".repeat(20)));
        assert!(stats_table(&[widest], "/s").lines().all(|line| line.len() <= WIDTH));

        let mut status = ChildStatus {
            ifname: "fifteen-octets!".into(),
            ifindex: 1,
            netns: Some("/proc/4194304/ns/net".into()),
            netnsid: Some(1),
            address: "02:00:00:00:00:01".parse().unwrap(),
            mode: "passthru",
            kind: macvlan_core::kernel::netlink::kind::Kind::Macvlan,
            mtu: 65521,
            up: false,
            host_access: true,
            policy: PolicyStatus::default(),
            owned: false,
            container: None,
        };
        let fits = |status: &ChildStatus| {
            let table = children_table([status]);
            assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
            table
        };
        assert!(fits(&status).contains("/proc/4194304~"));
        status.container = container(Some(&"a-long-name-".repeat(20)));
        assert!(fits(&status).contains("docker:a-long~"));
        // Where the other cells are short, there is room for more.
        (status.ifname, status.mode) = ("eth0".into(), "bridge");
        assert!(fits(&status).contains("docker:a-long-name-a-long~"));
    }
}
