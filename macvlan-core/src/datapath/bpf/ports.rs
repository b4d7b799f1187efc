//! What is less for ports where the demultiplexer is in native XDP.

use macvlan_common::config::Config;

use crate::{
    kernel::ethtool::Ethtool,
    model::{description::Degraded, master::Master},
};

/// Whether XDP on this master may see a frame without the tag of its VLAN: sent to a port like that, it would be one of
/// no VLAN. A bond does not tell what the devices below it do.
pub fn may_lose_tags(master: &Master) -> bool {
    let ethtool = || Ethtool::open(master.name.parse()?)?.takes_tags_off();
    master.kind.as_deref() == Some("bond") || ethtool().unwrap_or(true)
}

/// What is told of a master of this kind.
///
/// A stack behind a veth leaves checksums to the device, and tags beside the packet; the kernel forgets both when XDP sends
/// such a packet to another device (`veth_xdp_rcv_skb` in drivers/net/veth.c): who gets it takes its checksum for
/// wrong, and the packet for one of no VLAN.
pub fn degraded(config: &Config, master: &str, kind: Option<&str>) -> Option<Degraded> {
    if !config.has_ports() || !config.xdp_is_native() {
        return None;
    }
    if config.flags & Config::TAGS_OFF != 0 {
        let reason = match kind {
            Some("bond") => "a bond does not tell whether XDP sees the tags of VLANs".to_owned(),
            _ => format!(
                "the driver of {master:?} takes the tags of VLANs off frames before XDP sees them: ethtool -K {master} \
                 rxvlan off rx-vlan-stag-hw-parse off, then macvlan-ctl attach {master}"
            ),
        };
        return Some(Degraded::new("ports", "native XDP", "TC", reason));
    }
    (kind == Some("veth")).then(|| {
        let reason = format!(
            "what a stack behind {master:?} sends to ports has no checksums, so TCP does not connect, and no tags of \
             VLANs: at the other end of {master:?}, ethtool -K DEV tx off txvlan off; or here: macvlan-ctl attach \
             {master} --xdp off"
        );
        Degraded::new("ports", "checksums", "none", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_native_xdp_would_forget_is_told() {
        let got = |flags, kind| {
            let config = Config { flags, ..Config::default() };
            degraded(&config, "eth0", kind).map(|less| (less.got, less.reason))
        };
        let native = Config::PORTS | Config::XDP_NATIVE;
        for flags in
            [0, Config::PORTS, Config::XDP_NATIVE | Config::TAGS_OFF, Config::PORTS | Config::TAGS_OFF]
        {
            assert_eq!(got(flags, Some("veth")), None, "{flags}");
        }
        assert_eq!(got(native, None), None);
        assert!(got(native, Some("veth")).is_some_and(|(got, _)| got == "none"));
        for (kind, remedy) in [(None, "rxvlan off"), (Some("veth"), "rxvlan off"), (Some("bond"), "a bond")] {
            let less = got(native | Config::TAGS_OFF, kind);
            assert!(less.is_some_and(|(got, reason)| got == "TC" && reason.contains(remedy)), "{kind:?}");
        }
    }
}
