//! What `stats` prints.

use std::io::{self, Write as _};

use anyhow::Result;
use macvlan_core::model::{
    container::Container,
    known_by::{KnownBy, names},
    printable::printable,
    stats::{ChildStats, MasterStats, Pair},
};
use serde::Serialize;

use crate::output::{
    json::print_json,
    table::{fit, room, table},
};

/// A master's rates, as `stats -j --watch` prints them.
#[derive(Serialize)]
struct AtTime<'a> {
    time: &'a str,
    #[serde(flatten)]
    master: &'a MasterStats,
}

/// `stats`: totals or, with the time (RFC 3339) that they are of, rates.
pub fn print_stats(json: bool, shown: &[MasterStats], time: Option<&str>) -> Result<()> {
    if json {
        return match time {
            Some(time) => print_json(&shown.iter().map(|master| AtTime { time, master }).collect::<Vec<_>>()),
            None => print_json(shown),
        };
    }
    let per_second = if time.is_some() { "/s" } else { "" };
    let mut out = io::stdout().lock();
    if let Some(time) = time {
        writeln!(out, "{time}")?;
    }
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
    writeln!(out, "{}:", printable(&master.ifname))?;
    if let Some(dropped) = master.kernel_rx_dropped.filter(|dropped| *dropped > 0) {
        writeln!(
            out,
            "  dropped by the kernel, its broadcast queue full or else {}{per_second}",
            count(dropped)
        )?;
    }
    let (Some(floods), Some(drops)) = (&master.flood, &master.drops) else {
        writeln!(out, "  plain kernel macvlan: nothing is counted by path")?;
        if master.children.iter().any(|child| child.stats64.is_some()) {
            writeln!(out, "{}", stats_table(&master.children, per_second, room()))?;
        }
        return Ok(());
    };
    if let Some(unknown) = &master.unknown_unicast {
        writeln!(out, "  unknown unicast {}", pair(unknown))?;
    }
    for (origin, flood) in floods {
        writeln!(out, "  broadcast and multicast from {origin} {}", pair(flood))?;
    }
    for (reason, dropped) in drops.iter().filter(|(_, dropped)| dropped.packets > 0) {
        writeln!(out, "  dropped as {reason} {}", pair(dropped))?;
    }
    if let Some(failed) = master.copy_failed.filter(|failed| failed.packets > 0) {
        writeln!(out, "  broadcasts not copied for lack of memory {}", pair(&failed))?;
    }
    if !master.children.is_empty() {
        writeln!(out, "{}", stats_table(&master.children, per_second, room()))?;
    }
    Ok(())
}

fn stats_table(children: &[ChildStats], per_second: &str, room: Option<usize>) -> String {
    let title = |text: &str| format!("{text}{per_second}");
    let mut records = vec![[
        "CHILD".to_owned(),
        "PATH".to_owned(),
        title("RX PKTS"),
        title("RX BYTES"),
        title("TX PKTS"),
        title("TX BYTES"),
    ]];
    for (child, name) in children.iter().zip(names(children.iter().map(KnownBy::counted))) {
        let known = KnownBy::counted(child);
        // Below the name that people know, where that is: without a container the name says it.
        let container = child.container.as_ref();
        let place = [
            container.map(|_| printable(&child.ifname)),
            container.map(Container::with_engine).filter(|with_engine| *with_engine != name),
            container.and(known.home()),
        ];
        let mut names = [Some(name)].into_iter().chain(place).flatten();
        let paths =
            [("wire", child.wire), ("host", child.host), ("sibling", child.sibling), ("all", child.stats64)];
        for (path, counted) in paths.into_iter().filter_map(|(path, counted)| Some((path, counted?))) {
            records.push([
                names.next().unwrap_or_default(),
                path.to_owned(),
                count(counted.rx.packets),
                count(counted.rx.bytes),
                count(counted.tx.packets),
                count(counted.tx.bytes),
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
    fit(&mut records, 0, room);
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
    use macvlan_core::model::stats::BothWays;

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
            netns: None,
            netnsid: None,
            address: "02:00:00:00:00:01".parse().unwrap(),
            container: None,
            stats64: None,
            wire: Some(both),
            host: Some(both),
            sibling: Some(both),
            drops: Some([("isolated", pair)].into()),
        }
    }

    fn container(name: &str) -> Option<Container> {
        let id = "0".repeat(64);
        Some(Container { engine: "docker", id, name: Some(name.into()) })
    }

    #[test]
    fn a_container_stands_above_its_interface_and_namespace() {
        let mut child = child(1);
        (child.ifname, child.netns) = ("eth0".into(), Some("/run/docker/netns/0123456789ab".into()));
        child.container = container("web");
        let table = stats_table(&[child.clone()], "", None);
        let [_, rows @ ..] = &table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
        for (row, begin) in rows.iter().zip([
            "web          wire",
            "eth0         host",
            "docker:web   sibling",
            "0123456789ab",
        ]) {
            assert!(row.starts_with(begin), "{table}");
        }
        child.container = None;
        let table = stats_table(&[child], "", None);
        assert!(table.lines().nth(1).is_some_and(|row| row.starts_with("0123456789ab/eth0 wire")), "{table}");
    }

    #[test]
    fn only_drops_that_occurred_have_a_line() {
        let pair = |packets| Pair { packets, bytes: packets * 60 };
        let master = MasterStats {
            ifname: "eth0".into(),
            unknown_unicast: Some(pair(0)),
            flood: Some([].into()),
            drops: Some([("reflected", pair(2)), ("storm", pair(0))].into()),
            copy_failed: None,
            kernel_rx_dropped: None,
            children: Vec::new(),
        };
        let mut text = Vec::new();
        print_master(&mut text, &master, "").unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "eth0:\n  unknown unicast 0 (0B)\n  dropped as reflected 2 (120B)\n");
    }

    #[test]
    fn the_table_fits_80_columns_where_they_are_all_there_are() {
        let mut widest = child(u64::MAX / 60);
        widest.ifname = "fifteen-bytes!!".into();
        widest.container = container(&"a-long-name-".repeat(20));
        let table = |room| stats_table(&[widest.clone()], "/s", room);
        assert!(table(Some(WIDTH)).lines().all(|line| line.len() <= WIDTH));
        assert!(table(None).contains(&"a-long-name-".repeat(20)));
    }
}
