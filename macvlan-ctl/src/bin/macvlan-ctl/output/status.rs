//! What `status` and `child list` print.

use std::io::{self, Write as _};

use anyhow::Result;
use macvlan_core::{
    kernel::netlink::kind::Kind,
    model::{
        description::{Carrier, HostFlood},
        keyword::Keyword,
        known_by::{KnownBy, names, short_netns},
        options::{DropUnknown, Isolation},
        printable::printable,
        status::{ChildStatus, MasterStatus, UNSETTLED},
    },
};
use textwrap::Options;

use crate::output::{
    json::print_json,
    table::{WIDTH, fit, room, table},
};

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
        let name = printable(&status.ifname);
        writeln!(out, "{name} ({}, index {}):", status.address, status.ifindex)?;
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
        if status.host_flood == HostFlood::Master {
            writeln!(out, "  the host's broadcasts come back up on {} for the children", status.ifname)?;
        }
        if !status.ingress && status.datapath == Carrier::Bpf {
            let text = "no program at ingress: frames from the wire and between siblings are counted by the \
                        children's devices alone, requests from the wire go to all, and nobody notices a child's \
                        MAC that moves to the wire";
            let indents = Options::new(WIDTH).initial_indent("  ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(text, indents))?;
        }
        if status.single_mac {
            writeln!(out, "  children have {} on the wire", status.address)?;
        }
        if status.isolation == Isolation::Strict {
            writeln!(out, "  isolation strict")?;
        }
        if status.vepa_switch {
            writeln!(out, "  the switch is reflective")?;
        }
        if !status.children.is_empty() {
            print_table(&mut out, status)?;
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
    let mut out = io::stdout().lock();
    for status in statuses.iter().filter(|status| !status.children.is_empty()) {
        print_table(&mut out, status)?;
    }
    Ok(())
}

/// The children of a master; below them, by the names that people know, a line for each that has addresses,
/// and one for each of which more was said than whether it may talk to the host, or that is not adopted.
fn print_table(out: &mut impl io::Write, status: &MasterStatus) -> Result<()> {
    writeln!(out, "{}", children_table(&status.children, room()))?;
    let names = names(status.children.iter().map(|child| KnownBy::of(child, status.netns.as_deref())));
    for (child, name) in status.children.iter().zip(names) {
        let addresses = child.addresses.iter().map(ToString::to_string).collect();
        let mut phrases: Vec<String> =
            (child.kind == Kind::Port).then(|| child.kind.as_str().to_owned()).into_iter().collect();
        phrases.extend(child.policy.phrases());
        phrases.extend(child.host_access_reason.clone().filter(|_| !child.adopted));
        phrases.extend(child.unsettled.then(|| UNSETTLED.to_owned()));
        let on_wire: Vec<String> = child.wire_addresses.iter().map(ToString::to_string).collect();
        let on_wire =
            if on_wire.is_empty() { on_wire } else { vec![format!("on the wire {}", on_wire.join(", "))] };
        for facts in [addresses, on_wire, phrases] as [Vec<String>; 3] {
            if !facts.is_empty() {
                let text = format!("{name}: {}", facts.join(", "));
                writeln!(out, "{}", textwrap::fill(&text, Options::new(WIDTH).subsequent_indent("  ")))?;
            }
        }
    }
    Ok(())
}

fn children_table(children: &[ChildStatus], room: Option<usize>) -> String {
    let titles = ["CHILD", "NETNS", "MODE", "MAC", "MTU", "STATE", "HOST", "BY"];
    let mut records = vec![titles.map(str::to_owned)];
    for child in children {
        records.push([
            printable(&child.ifname),
            namespace_cell(child),
            child.mode.to_owned(),
            child.address.to_string(),
            child.mtu.to_string(),
            state_cell(child).to_owned(),
            host_cell(child).to_owned(),
            if child.owned { "us" } else { "other" }.to_owned(),
        ]);
    }
    fit(&mut records, 1, room);
    table(records, 4..5)
}

/// Whether it is up, and its MAC is its own here.
fn state_cell(child: &ChildStatus) -> &'static str {
    match (child.up, child.elsewhere, child.local || child.host_owned) {
        (false, ..) => "down",
        (true, true, _) => "elsewhere",
        (true, false, false) => "no-carrier",
        (true, false, true) => "up",
    }
}

/// Whether it reaches the host, or is a device of the host's own.
fn host_cell(child: &ChildStatus) -> &'static str {
    match (child.host_owned, child.host_access) {
        (true, _) => "own",
        (false, true) => "on",
        (false, false) => "off",
    }
}

/// The container or, where there is none, the namespace.
fn namespace_cell(child: &ChildStatus) -> String {
    match (&child.container, &child.netns, child.netnsid) {
        (Some(container), _, _) => container.with_engine(),
        (None, Some(name), _) => short_netns(name),
        (None, None, Some(id)) => format!("nsid {id}"),
        (None, None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use macvlan_core::{model::container::Container, policy::status::PolicyStatus};

    use super::*;

    #[test]
    fn the_table_fits_80_columns_where_they_are_all_there_are() {
        let mut status = ChildStatus {
            ifname: "fifteen-bytes!!".into(),
            ifindex: 1,
            netns: Some("/proc/4194304/ns/net".into()),
            netnsid: Some(1),
            address: "02:00:00:00:00:01".parse().unwrap(),
            mode: "passthru",
            kind: Kind::Macvlan,
            mtu: 65521,
            up: false,
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
        };
        let fits = |status: &ChildStatus| {
            let table = children_table(std::slice::from_ref(status), Some(WIDTH));
            assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
            table
        };
        assert!(fits(&status).contains("pid 4194304"));
        status.container =
            Some(Container { engine: "docker", id: "0".repeat(64), name: Some("a-long-name-".repeat(20)) });
        assert!(fits(&status).contains("docker:a-long~"));
        // Where the other cells are short, there is room for more.
        (status.ifname, status.mode) = ("eth0".into(), "bridge");
        assert!(fits(&status).contains("docker:a-long-name-a-long~"));
        assert!(children_table(&[status], None).contains(&"a-long-name-".repeat(20)));
    }
}
