//! What devices of children say of themselves and does not count, or is to be looked at.

use macvlan_common::{child::Mode, mac::Mac};

use crate::model::{
    child::Child, description::Degraded, master::Master, members::Members, printable::printable,
};

/// What is told of these children of a master, with the MAC of each.
pub fn claims(master: &Master, children: &[&Child], members: &Members) -> Vec<(Mac, Degraded)> {
    let name = &master.name;
    let of_child = |child: &&Child| {
        let mac = child.mac;
        let told =
            [held_to_mode(child, name, members), held_to_mac(child, name), listens(child, master, children)];
        told.into_iter().flatten().map(move |degraded| (mac, degraded))
    };
    children.iter().flat_map(of_child).collect()
}

/// What is told of a child whose device has another MAC than it is held to.
fn held_to_mac(child: &Child, master: &str) -> Option<Degraded> {
    if child.usurps {
        let mac = child.mac.to_string();
        let reason = format!(
            "child {} has the MAC {mac}, which another child is held to: it is left alone, and what it sends here is \
             dropped",
            child.title()
        );
        return Some(Degraded::new("mac", "its own", &mac, reason));
    }
    let (was, is) = (child.mac, child.other_mac?);
    let reason = format!(
        "child {}: its device has the MAC {is} by now and it is held to {was}: what it sends is dropped, and \
         nobody here reaches it; in its namespace: ip link set dev {} address {was}, or to let the new one count: \
         macvlan-ctl child set {master} {was},mac-change=on",
        child.title(),
        printable(&child.name),
    );
    Some(Degraded::new("mac", &was.to_string(), &is.to_string(), reason))
}

/// What is told of a child whose device is in another mode than it is held to.
fn held_to_mode(child: &Child, master: &str, members: &Members) -> Option<Degraded> {
    let policy = members.policies.get(&child.mac).filter(|policy| !policy.is_hosts())?;
    let (was, is) = (policy.mode(), child.mode);
    (child.is_in_foreign_hands() && was != is).then(|| {
        let reason = format!(
            "child {}: its device is in mode {} by now and it is held to {}, but for broadcasts that the driver gives \
             to siblings itself; to let that count: macvlan-ctl child set {master} {},mode={}",
            child.title(),
            is.as_str(),
            was.as_str(),
            child.mac,
            is.as_str()
        );
        Degraded::new("mode", was.as_str(), is.as_str(), reason)
    })
}

/// What is told of a child that hears others.
pub const SOURCE: &str = "source";

/// Whom of the host, whose MAC is `master`, and the other children a child hears: in mode source, and in another
/// namespace, the driver gives it copies of what those send whose MACs it lists, past all that could be judged on the
/// master, or even these frames themselves.
pub fn overheard(child: &Child, master: Mac, children: &[&Child]) -> Vec<String> {
    if child.mode != Mode::Source || child.place.nsid.is_none() || child.sources.is_empty() {
        return Vec::new();
    }
    let others = || children.iter().filter(|other| !other.is_same(child));
    let whose = |mac: &Mac| match *mac == master {
        true => Some("the host".to_owned()),
        false => {
            others().find(|other| other.device_mac() == *mac).map(|other| format!("child {}", other.title()))
        }
    };
    child.sources.iter().filter_map(whose).collect()
}

/// What is told of such a child, unless a program on its device keeps these copies from it.
fn listens(child: &Child, master: &Master, children: &[&Child]) -> Option<Degraded> {
    let heard = overheard(child, master.mac, children);
    let (what, remedy) = match child.takes_all {
        true => ("takes from the others here", String::new()),
        false => ("hears a copy of", format!("macvlan-ctl attach {} keeps it from that; ", master.name)),
    };
    (!heard.is_empty() && (child.takes_all || !child.is_deaf)).then(|| {
        let reason = format!(
            "child {} is in mode source and lists MACs of others: it {what} all that {} sends to children; \
             {remedy}in its namespace: ip link set dev {} type {} macaddr flush",
            child.title(),
            heard.join(", and all that "),
            printable(&child.name),
            child.kind.as_str()
        );
        Degraded::new(SOURCE, "its own", &format!("{} of others", heard.len()), reason)
    })
}
