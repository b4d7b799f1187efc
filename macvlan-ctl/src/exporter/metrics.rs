//! Every metric by name: what it is, and which labels it bears.

use prometheus::proto::MetricType;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What people are told of it.
    pub help: &'static str,
    /// Its labels, in the order of exposition.
    pub labels: &'static [&'static str],
    /// Whether it only grows.
    pub is_counter: bool,
}

impl Metric {
    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, help, labels, is_counter: true }
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, help, labels, is_counter: false }
    }

    /// Its type, as the exposition format has it.
    pub fn kind(&self) -> MetricType {
        if self.is_counter { MetricType::COUNTER } else { MetricType::GAUGE }
    }
}

/// Declares metrics, each as a constant and all of them as [`ALL`].
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $constant: Metric = Metric::$kind($name, &$labels, $help);
        )+

        /// Every metric there is, in the order of exposition.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    BUILD_INFO = gauge "macvlan_build_info" ["version"],
        "The version of macvlan-ctl that serves these metrics; always 1.";

    CHILD_INFO = gauge "macvlan_child_info" ["master", "mac", "container", "mode", "kind", "owned"],
        "Who a child is, by what a restart leaves as it is: join by instance, master and mac; always 1.";
    CHILD_UP = gauge "macvlan_child_up" ["master", "mac"],
        "Whether a child is administratively up.";
    CHILD_HOST_ACCESS = gauge "macvlan_child_host_access" ["master", "mac"],
        "Whether a child reaches the host through the hairpin.";
    CHILD_ELSEWHERE = gauge "macvlan_child_elsewhere" ["master", "mac"],
        "Whether the MAC of a child was heard on the wire since the child last sent.";
    CHILD_UNSETTLED = gauge "macvlan_child_unsettled" ["master", "mac"],
        "Whether the settings of a child hang on its container, which is not known yet: it may the least meanwhile.";
    CHILD_WIRE_ADDRESSES = gauge "macvlan_child_wire_addresses" ["master", "mac"],
        "IP addresses of a child that frames from a wire of one MAC are given to it by, 64 at most besides its device's; absent on other wires.";
    CHILD_POLICY = gauge "macvlan_child_policy_info" [
            "master", "mac", "sibling_access", "group", "anti_spoof", "vepa_reflect",
        ],
        "What is set for a child, as status names it; always 1.";
    CHILD_RATE_LIMIT_BYTES = gauge "macvlan_child_rate_limit_bytes_per_second" ["master", "mac", "direction"],
        "Bytes a second that a child may receive or send, layer 2 without FCS; absent without a limit.";
    CHILD_RATE_LIMIT_PACKETS = gauge "macvlan_child_rate_limit_packets_per_second" ["master", "mac", "direction"],
        "Frames a second that a child may receive or send; absent without a limit.";
    CHILD_RECEIVE_PACKETS = counter "macvlan_child_receive_packets_total" ["master", "mac", "path"],
        "Frames that a child received, by whom from: wire, host or sibling; all where only the kernel counts.";
    CHILD_DEVICE_RECEIVE_PACKETS = counter "macvlan_child_device_receive_packets_total" ["master", "mac"],
        "Frames that a child received in all, as its device counts; where no program at ingress counts by path.";
    CHILD_RECEIVE_BYTES = counter "macvlan_child_receive_bytes_total" ["master", "mac", "path"],
        "Bytes that a child received, layer 2 without FCS, by whom from: wire, host or sibling; all where only the kernel counts.";
    CHILD_DEVICE_RECEIVE_BYTES = counter "macvlan_child_device_receive_bytes_total" ["master", "mac"],
        "Bytes that a child received in all, as its device counts; where no program at ingress counts by path.";
    CHILD_TRANSMIT_PACKETS = counter "macvlan_child_transmit_packets_total" ["master", "mac", "path"],
        "Frames that a child sent, by whom to: wire (with every broadcast), host or sibling; all where only the kernel counts.";
    CHILD_DEVICE_TRANSMIT_PACKETS = counter "macvlan_child_device_transmit_packets_total" ["master", "mac"],
        "Frames that a child sent in all, as its device counts; where no program at ingress counts by path.";
    CHILD_TRANSMIT_BYTES = counter "macvlan_child_transmit_bytes_total" ["master", "mac", "path"],
        "Bytes that a child sent, layer 2 without FCS, by whom to: wire (with every broadcast), host or sibling; all where only the kernel counts.";
    CHILD_DEVICE_TRANSMIT_BYTES = counter "macvlan_child_device_transmit_bytes_total" ["master", "mac"],
        "Bytes that a child sent in all, as its device counts; where no program at ingress counts by path.";
    CHILD_DROP_PACKETS = counter "macvlan_child_drop_packets_total" ["master", "mac", "reason"],
        "Frames of a child that the data path dropped, each under one reason.";
    CHILD_DROP_BYTES = counter "macvlan_child_drop_bytes_total" ["master", "mac", "reason"],
        "Bytes of a child that the data path dropped, layer 2 without FCS, each under one reason.";

    MASTER_INFO = gauge "macvlan_master_info" ["master", "ifindex", "mac", "netns"],
        "Who a master is; always 1.";
    MASTER_READY = gauge "macvlan_master_ready" ["master"],
        "Whether a master that is followed is there, up and attached to; /readyz says why not.";
    MASTER_CHILDREN = gauge "macvlan_master_children" ["master"],
        "Children of a master that the data path knows; without one, all.";
    MASTER_UNADOPTED = gauge "macvlan_master_unadopted_children" ["master"],
        "Children of a master that the data path should know and does not.";
    MASTER_MAC_CONFLICTS = gauge "macvlan_master_mac_conflicts" ["master"],
        "MACs that more than one child of a master has.";
    MASTER_ADDRESS_CONFLICTS = gauge "macvlan_master_address_conflicts" ["master"],
        "IP addresses that two claim; requests for them go to everybody.";
    MASTER_UNKNOWN_UNICAST_PACKETS = counter "macvlan_master_unknown_unicast_packets_total" ["master"],
        "Unicast frames from the wire to nobody here.";
    MASTER_UNKNOWN_UNICAST_BYTES = counter "macvlan_master_unknown_unicast_bytes_total" ["master"],
        "Bytes of unicast frames from the wire to nobody here.";
    MASTER_COPY_FAILED_PACKETS = counter "macvlan_master_copy_failed_packets_total" ["master"],
        "Copies of broadcasts that the kernel had no memory for; the frames themselves went on.";
    MASTER_COPY_FAILED_BYTES = counter "macvlan_master_copy_failed_bytes_total" ["master"],
        "Bytes of copies of broadcasts that the kernel had no memory for.";
    MASTER_KERNEL_RX_DROPPED = counter "macvlan_master_kernel_rx_dropped_packets_total" ["master"],
        "Frames that the kernel dropped on the master's receive side: broadcasts beyond macvlan's queue, and others.";
    MASTER_FLOOD_PACKETS = counter "macvlan_master_flood_packets_total" ["master", "origin"],
        "Broadcast and multicast frames, once however many hear them, by origin: wire, host or child.";
    MASTER_FLOOD_BYTES = counter "macvlan_master_flood_bytes_total" ["master", "origin"],
        "Bytes of broadcast and multicast frames, once however many hear them, by origin: wire, host or child.";
    MASTER_DROP_PACKETS = counter "macvlan_master_drop_packets_total" ["master", "reason"],
        "Frames that the data path dropped without a child to charge, each under one reason.";
    MASTER_DROP_BYTES = counter "macvlan_master_drop_bytes_total" ["master", "reason"],
        "Bytes that the data path dropped without a child to charge, each under one reason.";

    DATAPATH_INFO = gauge "macvlan_datapath_info" ["master", "datapath", "demux", "hairpin", "version"],
        "What carries a master's frames; version is that of its programs, \"other\" when attach would renew them; always 1.";
    DATAPATH_DEGRADED = gauge "macvlan_datapath_degraded" ["master", "feature", "wanted", "got", "reason"],
        "Something of a data path that is less than the best, and why; always 1.";
    DATAPATH_READABLE = gauge "macvlan_datapath_readable" ["master"],
        "Whether the pinned maps of a master could be read; without them its counters are missing.";

    SETTINGS = gauge "macvlan_master_settings_info" ["master", "drop_unknown", "vepa_switch", "directed_neigh", "single_mac", "ingress"],
        "What is set for a master, as status names it; always 1.";
    STORM_LIMIT = gauge "macvlan_master_storm_limit_packets" ["master"],
        "Broadcast and multicast frames a second that are let through from the wire and from each child; missing without a limit.";

    MAP_ENTRIES = gauge "macvlan_bpf_map_entries" ["master", "map"],
        "Entries in a BPF map.";
    MAP_MAX_ENTRIES = gauge "macvlan_bpf_map_max_entries" ["master", "map"],
        "Entries that fit into a BPF map.";
    PROG_RUN_COUNT = counter "macvlan_bpf_prog_run_count_total" ["master", "program"],
        "Runs of a BPF program, counted only while kernel.bpf_stats_enabled is 1.";
    PROG_RUN_SECONDS = counter "macvlan_bpf_prog_run_seconds_total" ["master", "program"],
        "Time spent in a BPF program on all CPUs, counted only while kernel.bpf_stats_enabled is 1.";

    FOLLOWER_CONTESTED = counter "macvlan_follower_contested_addresses_total" ["master"],
        "Times that another one came to claim an IP address of a child, since macvlan-ctl run attached.";
    FOLLOWER_EVENTS = counter "macvlan_follower_events_total" [],
        "Netlink events read.";
    FOLLOWER_MALFORMED_EVENTS = counter "macvlan_follower_malformed_events_total" [],
        "Netlink events that could not be understood.";
    FOLLOWER_OVERRUNS = counter "macvlan_follower_overruns_total" [],
        "Times the kernel had more netlink events than the socket could hold.";
    FOLLOWER_RESYNCS = counter "macvlan_follower_resyncs_total" [],
        "Times all masters and children were looked at anew.";
    FOLLOWER_SYNCS = counter "macvlan_follower_syncs_total" [],
        "Times a data path was brought to what the kernel has.";
    FOLLOWER_SYNC_ERRORS = counter "macvlan_follower_sync_errors_total" [],
        "Times a data path could not be brought to what the kernel has.";

    SCRAPE_DURATION = gauge "macvlan_exporter_scrape_duration_seconds" [],
        "Time it took to read everything here but this.";
    SCRAPE_ERRORS = counter "macvlan_exporter_scrape_errors_total" [],
        "Masters that could not be read, added up over all scrapes.";
    EVICTED = counter "macvlan_exporter_evicted_connections_total" [],
        "Clients that were hung up on because too many others came after them.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_conventions() {
        for metric in ALL {
            let Metric { name, help, labels, is_counter } = metric;
            assert!(name.starts_with("macvlan_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *is_counter, "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
            assert!(labels.iter().all(|label| !label.contains("__")), "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == *name).count(), 1, "{name}");
        }
    }

    #[test]
    fn identity_stands_in_info_metrics_alone() {
        for metric in ALL.iter().filter(|metric| metric.labels.contains(&"container")) {
            assert!(metric.name.ends_with("_info"), "{}", metric.name);
        }
    }

    #[test]
    fn nothing_of_a_child_that_a_restart_changes_is_a_label() {
        let changes = ["child", "netns", "netnsid", "ifname", "ifindex", "container_id", "address"];
        for metric in
            ALL.iter().filter(|metric| metric.labels.contains(&"mac") && *metric.name != *MASTER_INFO.name)
        {
            assert!(!metric.labels.iter().any(|label| changes.contains(label)), "{}", metric.name);
        }
    }
}
