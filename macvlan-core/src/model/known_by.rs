//! What people know a child by: its container, or its namespace and interface.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{container::Container, printable::printable, stats::ChildStats, status::ChildStatus};

/// What a child is known by.
#[derive(Debug, Clone, Copy)]
pub struct KnownBy<'a> {
    /// Its container.
    pub container: Option<&'a Container>,
    /// Its namespace, short; `None` is the master's own.
    netns: Option<&'a str>,
    netnsid: Option<i32>,
    /// Its interface.
    pub ifname: &'a str,
}

impl<'a> KnownBy<'a> {
    /// A child of a master in the namespace named `own`.
    pub fn of(child: &'a ChildStatus, own: Option<&str>) -> Self {
        let is_own = child.netnsid.is_none() && child.netns.as_deref() == own;
        Self {
            container: child.container.as_ref(),
            netns: child.netns.as_deref().filter(|_| !is_own),
            netnsid: child.netnsid,
            ifname: &child.ifname,
        }
    }

    /// A child that was counted.
    pub fn counted(child: &'a ChildStats) -> Self {
        Self {
            container: child.container.as_ref(),
            netns: child.netns.as_deref(),
            netnsid: child.netnsid,
            ifname: &child.ifname,
        }
    }

    /// A device in a namespace: a name or path of it where one is known, and its id in the master's own.
    pub const fn device(
        container: Option<&'a Container>,
        netns: Option<&'a str>,
        netnsid: Option<i32>,
        ifname: &'a str,
    ) -> Self {
        Self { container, netns, netnsid, ifname }
    }

    /// The container's name or short id, `web`; without a container, the namespace and the interface,
    /// `blue/eth0`; in the master's own namespace the interface alone. Harmless to a terminal.
    pub fn name(&self) -> String {
        match self.container {
            Some(container) => printable(container.known_name()),
            None => self.place_name(),
        }
    }

    fn place_name(&self) -> String {
        let ifname = printable(self.ifname);
        match self.home() {
            Some(home) => format!("{home}/{ifname}"),
            None => ifname,
        }
    }

    /// The namespace, as short as it stays telling: `blue`, `nsid 3`. `None` is the master's own.
    pub fn home(&self) -> Option<String> {
        match (self.netns, self.netnsid) {
            (Some(netns), _) => Some(short_netns(netns)),
            (None, Some(id)) => Some(format!("nsid {id}")),
            (None, None) => None,
        }
    }
}

/// The names of these children, in their order: with the engine, `docker:web`, where two engines have a
/// container of that name.
pub fn names<'a>(children: impl IntoIterator<Item = KnownBy<'a>>) -> Vec<String> {
    let children: Vec<KnownBy<'a>> = children.into_iter().collect();
    let mut engines: BTreeMap<&str, &str> = BTreeMap::new();
    let mut clashing = BTreeSet::new();
    for container in children.iter().filter_map(|child| child.container) {
        let name = container.known_name();
        if *engines.entry(name).or_insert(container.engine) != container.engine {
            clashing.insert(name);
        }
    }
    let name = |child: &KnownBy<'a>| match child.container {
        Some(container) if clashing.contains(container.known_name()) => container.with_engine(),
        _ => child.name(),
    };
    children.iter().map(name).collect()
}

/// A namespace without the directory that names of its kind are in; that of a process by its id, `pid 123`.
/// Harmless to a terminal.
pub fn short_netns(netns: &str) -> String {
    if let Some(pid) = netns.strip_prefix("/proc/").and_then(|rest| rest.strip_suffix("/ns/net")) {
        return format!("pid {}", printable(pid));
    }
    let at = ["/run/docker/netns/", "/run/netns/"];
    printable(at.iter().find_map(|at| netns.strip_prefix(at)).unwrap_or(netns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(engine: &'static str, name: &str) -> Container {
        Container { engine, id: "c0ffee".into(), name: Some(name.into()) }
    }

    #[test]
    fn the_engine_is_told_where_two_would_clash() {
        let all = [
            container("docker", "web"),
            container("podman", "web"),
            container("docker", "db"),
            container("docker", "db"),
        ];
        let known = all.each_ref().map(|container| KnownBy::device(Some(container), None, None, "eth0"));
        assert_eq!(names(known), ["docker:web", "podman:web", "db", "db"]);
    }

    #[test]
    fn without_a_container_the_namespace_and_the_interface_are_told() {
        let name = |netns, id| KnownBy::device(None, netns, id, "eth0").name();
        assert_eq!(name(Some("/run/netns/blue"), Some(1)), "blue/eth0");
        assert_eq!(name(Some("/proc/123/ns/net"), Some(1)), "pid 123/eth0");
        assert_eq!(name(None, Some(3)), "nsid 3/eth0");
        assert_eq!(name(None, None), "eth0");
    }

    #[test]
    fn what_a_container_chose_cannot_talk_to_the_terminal() {
        let evil = container("docker", "a\x1b[2J");
        assert_eq!(KnownBy::device(Some(&evil), None, None, "eth0").name(), "a\\u{1b}[2J");
        assert_eq!(KnownBy::device(None, Some("b\n"), None, "e\r").name(), "b\\n/e\\r");
    }
}
