//! What `stats` prints.

use std::io::{self, Write as _};

use anyhow::Result;
use macvlan_core::model::stats::{BothWays, ChildStats, MasterStats, Pair};

use crate::output::{
    json::print_json,
    table::{container_cell, fit, table},
};

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
    use macvlan_core::model::container::Container;

    use super::*;
    use crate::output::table::WIDTH;

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

    fn container(name: &str) -> Option<Container> {
        let id = "0".repeat(64);
        Some(Container { engine: "docker", id, name: Some(name.into()) })
    }

    #[test]
    fn a_container_stands_below_its_child() {
        let mut child = child(1);
        child.container = container("web");
        let table = stats_table(&[child], "");
        let [_, first, second, ..] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
        assert!(first.starts_with("web        wire"), "{table}");
        assert!(second.starts_with("docker:web host"), "{table}");
    }

    #[test]
    fn the_table_fits_80_columns() {
        let mut widest = child(u64::MAX / 60);
        widest.ifname = "fifteen-bytes!!".into();
        widest.container = container(&"a-long-name-".repeat(20));
        assert!(stats_table(&[widest], "/s").lines().all(|line| line.len() <= WIDTH));
    }
}
