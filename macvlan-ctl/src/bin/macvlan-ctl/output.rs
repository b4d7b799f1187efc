//! Printing: the same structures as JSON, or as tables that fit 80 columns.

use std::io::{self, Write as _};

use anyhow::{Context, Result};
use macvlan_ctl::{
    datapath::Carrier,
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

/// Widest namespace in a table: names fit, paths are cut.
const WIDEST_NETNS: usize = 12;

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
        writeln!(out, "  datapath {datapath}, demux {demux}, hairpin {hairpin}")?;
        for part in &status.degraded {
            let text = format!("{} {} instead of {}: {}", part.feature, part.got, part.wanted, part.reason);
            let indents = Options::new(WIDTH).initial_indent("  ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(&text, indents))?;
        }
        if !status.children.is_empty() {
            writeln!(out, "{}", children_table(&status.children))?;
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
        writeln!(io::stdout(), "{}", children_table(children))?;
    }
    Ok(())
}

fn children_table<'a>(children: impl IntoIterator<Item = &'a ChildStatus>) -> String {
    let mut rows = Builder::new();
    rows.push_record(["CHILD", "NETNS", "MODE", "MAC", "MTU", "STATE", "HOST", "BY"]);
    for child in children {
        rows.push_record([
            child.ifname.clone(),
            netns_cell(child),
            child.mode.to_owned(),
            child.address.to_string(),
            child.mtu.to_string(),
            if child.up { "up" } else { "down" }.to_owned(),
            if child.host_access { "on" } else { "off" }.to_owned(),
            if child.owned { "us" } else { "other" }.to_owned(),
        ]);
    }
    table(rows, 4..5)
}

/// The namespace, as short as it stays telling.
fn netns_cell(child: &ChildStatus) -> String {
    match (&child.netns, child.netnsid) {
        (Some(name), _) => {
            let name = name.strip_prefix("/run/docker/netns/").unwrap_or(name);
            match name.char_indices().nth(WIDEST_NETNS) {
                Some((cut, _)) => format!("{}~", &name[..cut]),
                None => name.to_owned(),
            }
        }
        (None, Some(id)) => format!("nsid {id}"),
        (None, None) => "-".to_owned(),
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
    let (Some(unknown), Some(floods), Some(drops)) = (&master.unknown_unicast, &master.flood, &master.drops)
    else {
        writeln!(out, "  plain kernel macvlan: nothing is counted by path")?;
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
    let mut rows = Builder::new();
    let title = |text: &str| format!("{text}{per_second}");
    rows.push_record([
        "CHILD".to_owned(),
        "PATH".to_owned(),
        title("RX PKTS"),
        title("RX BYTES"),
        title("TX PKTS"),
        title("TX BYTES"),
    ]);
    for child in children {
        let mut name = child.ifname.as_str();
        for (path, counted) in [("wire", child.wire), ("host", child.host), ("sibling", child.sibling)] {
            let cell = |pick: fn(BothWays) -> u64| counted.map_or("-".to_owned(), |both| count(pick(both)));
            rows.push_record([
                std::mem::take(&mut name).to_owned(),
                path.to_owned(),
                cell(|both| both.rx.packets),
                cell(|both| both.rx.bytes),
                cell(|both| both.tx.packets),
                cell(|both| both.tx.bytes),
            ]);
        }
        for (reason, dropped) in child.drops.iter().flatten().filter(|(_, dropped)| dropped.packets > 0) {
            let cells = [count(dropped.packets), count(dropped.bytes)];
            let [packets, bytes] = cells;
            let empty = String::new;
            rows.push_record([empty(), format!("dropped: {reason}"), packets, bytes, empty(), empty()]);
        }
    }
    table(rows, 2..6)
}

fn table(rows: Builder, right_aligned: std::ops::Range<usize>) -> String {
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
            wire: Some(both),
            host: None,
            sibling: Some(both),
            drops: Some([("isolated", pair)].into()),
        }
    }

    #[test]
    fn the_tables_fit_80_columns() {
        let mut widest = child(u64::MAX / 60);
        widest.ifname = "fifteen-octets!".into();
        assert!(stats_table(&[widest], "/s").lines().all(|line| line.len() <= WIDTH));

        let status = ChildStatus {
            ifname: "fifteen-octets!".into(),
            ifindex: 1,
            netns: Some("/proc/4194304/ns/net".into()),
            netnsid: Some(1),
            address: "02:00:00:00:00:01".parse().unwrap(),
            mode: "passthru",
            kind: macvlan_ctl::model::Kind::Macvlan,
            mtu: 65521,
            up: false,
            host_access: true,
            owned: false,
            container: None,
        };
        let table = children_table([&status]);
        assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
    }
}
