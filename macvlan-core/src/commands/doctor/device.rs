//! A device as a master: what is known of it, and what that means.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

use crate::{
    commands::doctor::{
        finding::{Finding, Status},
        offloads, uplink, wifi, xdp,
    },
    discovery::masters::master_of_link,
    kernel::{
        ethtool::Ethtool,
        netlink::{
            Netlink,
            link::{Link, ListOptions},
        },
        wireless::{self, Wireless},
    },
};

/// What is known of a device; `None` where nobody tells.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What made it ("veth", "bond", ...); `None` for hardware.
    pub kind: Option<String>,
    /// Administratively up.
    pub up: bool,
    /// Something is at the other end.
    pub carrier: bool,
    /// Why it cannot be a master.
    pub refusal: Option<String>,
    /// Who else takes the frames it receives: a kind and a name.
    pub taker: Option<(String, String)>,
    /// How many want it to be promiscuous.
    pub promiscuity: u32,
    /// Unicast MACs that it lets in besides its own.
    pub filter: Option<usize>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its offloads.
    pub offloads: Option<BTreeMap<String, bool>>,
    /// `NETDEV_XDP_ACT_*`.
    pub xdp: Option<u64>,
    /// Its role in a wireless network.
    pub wireless: Option<Wireless>,
    /// Of a bridge: the settings by which bridged frames pass the firewall, those that are on.
    pub bridge_netfilter: Vec<&'static str>,
}

impl Device {
    /// Looks at `link`, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Netlink does not list the devices.
    pub async fn read(netlink: &Netlink, link: &Link) -> Result<Self> {
        let ethtool = link.name.parse().ok().and_then(|name| Ethtool::open(name).ok());
        let (carrier, promiscuity) = flags(netlink, link.index).await?;
        let filters = netlink.unicast_filters().await.ok();
        let refusal = master_of_link(netlink, link.clone()).await.err();
        Ok(Self {
            name: link.name.clone(),
            kind: link.kind.clone(),
            up: link.up,
            carrier,
            refusal: refusal.map(|error| format!("{error:#}")),
            taker: taker(netlink, link).await?,
            promiscuity,
            filter: filters.map(|filters| filters.get(&link.index).map_or(0, Vec::len)),
            driver: ethtool.as_ref().and_then(Ethtool::driver),
            offloads: ethtool.as_ref().and_then(|ethtool| ethtool.offloads().ok()),
            xdp: xdp::abilities(link.index).ok().flatten(),
            wireless: wireless::role(link.index).ok().flatten(),
            bridge_netfilter: bridge_netfilter(link.kind.as_deref()),
        })
    }
}

async fn flags(netlink: &Netlink, index: u32) -> Result<(bool, u32)> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let Some(RouteNetlinkMessage::NewLink(link)) = netlink.get(RouteNetlinkMessage::GetLink(message)).await?
    else {
        return Ok((false, 0));
    };
    let promiscuity = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Promiscuity(count) => Some(*count),
        _ => None,
    });
    Ok((link.header.flags.contains(LinkFlags::LowerUp), promiscuity.unwrap_or(0)))
}

/// Kinds that take a device's receive handler as its controller, besides those that
/// [`Master::from_link`] refuses, or from above (`netdev_rx_handler_register` in their sources).
const CONTROLLERS: [&str; 2] = ["openvswitch", "hsr"];

const UPPERS: [&str; 3] = ["ipvlan", "ipvtap", "macsec"];

async fn taker(netlink: &Netlink, link: &Link) -> Result<Option<(String, String)>> {
    let links = netlink.links(ListOptions::default()).await?;
    let takes = |other: &&Link| {
        let Some(kind) = other.kind.as_deref() else { return false };
        let controls = link.controller == Some(other.index) && CONTROLLERS.contains(&kind);
        let sits_on = other.lower == Some(link.index) && other.lower_nsid.is_none() && UPPERS.contains(&kind);
        controls || sits_on
    };
    Ok(links.iter().find(takes).and_then(|other| Some((other.kind.clone()?, other.name.clone()))))
}

/// The settings of `br_netfilter` that are on (`/proc/sys/net/bridge`), for a bridge.
fn bridge_netfilter(kind: Option<&str>) -> Vec<&'static str> {
    let settings = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];
    let is_on = |name: &&str| {
        fs::read_to_string(format!("/proc/sys/net/bridge/{name}")).is_ok_and(|text| text.trim() != "0")
    };
    if kind == Some("bridge") { settings.into_iter().filter(is_on).collect() } else { Vec::new() }
}

/// What all that means. `vendor` is who made the machine.
pub fn judge(device: &Device, vendor: Option<&str>) -> Vec<Finding> {
    let mut findings = vec![role(device)];
    if findings[0].status == Status::Problem {
        return findings.into_iter().map(|finding| finding.on(&device.name)).collect();
    }
    findings.push(state(device));
    findings.push(xdp::judge(device.xdp, device.kind.as_deref(), device.driver.as_deref()));
    findings.extend(offloads::judge(&device.name, device.offloads.as_ref()));
    findings.push(receive_filter(device));
    findings.extend(bridge(device));
    findings.extend(wifi::judge(device.wireless));
    findings.extend(uplink::judge(vendor, device.driver.as_deref()));
    findings.into_iter().map(|finding| finding.on(&device.name)).collect()
}

fn role(device: &Device) -> Finding {
    let reason = "macvlan takes the frames that its master receives, and nobody else may";
    if let Some(refusal) = &device.refusal {
        return Finding::new(Status::Problem, "master", refusal, reason);
    }
    if let Some((kind, name)) = &device.taker {
        let found = format!("{kind} {name:?} takes what it receives");
        let finding = Finding::new(Status::Problem, "master", found, reason);
        return finding.remedy(format!("take it off {name:?}, or choose another master"));
    }
    let kind = device.kind.as_deref().unwrap_or("hardware");
    let driver = device.driver.as_deref().filter(|driver| *driver != kind);
    let driver = driver.map(|driver| format!(", driver {driver}")).unwrap_or_default();
    Finding::new(Status::Ok, "master", format!("can be one ({kind}{driver})"), reason)
}

fn state(device: &Device) -> Finding {
    let reason = "children go up only on a master that is up, and reach the network only with a carrier";
    match (device.up, device.carrier) {
        (false, _) => Finding::new(Status::Problem, "state", "down", reason)
            .remedy(format!("ip link set {} up", device.name)),
        (true, false) => Finding::new(Status::Warning, "state", "up, without a carrier", reason)
            .remedy("look at the cable, or at the other end"),
        (true, true) => Finding::new(Status::Ok, "state", "up", reason),
    }
}

fn receive_filter(device: &Device) -> Finding {
    let reason = "a device that is promiscuous hands up every frame that reaches it; how many MACs it could \
                  filter instead, no driver tells";
    let macs = match device.filter {
        Some(1) => "1 MAC besides its own is let in".to_owned(),
        Some(count) => format!("{count} MACs besides its own are let in"),
        None => "which MACs are let in is not told".to_owned(),
    };
    match device.promiscuity {
        0 => Finding::new(Status::Ok, "receive-filter", macs, reason),
        times => {
            let found = format!("{macs}; promiscuous (wanted {times} times)");
            Finding::new(Status::Note, "receive-filter", found, reason)
        }
    }
}

fn bridge(device: &Device) -> Option<Finding> {
    if device.kind.as_deref() != Some("bridge") {
        return None;
    }
    let reason = "frames that the bridge forwards pass the host's IP firewall then: a FORWARD policy of drop, \
                  which Docker sets, takes those between children and the bridge's ports";
    let check = "bridge-netfilter";
    if device.bridge_netfilter.is_empty() {
        return Some(Finding::new(Status::Ok, check, "off", reason));
    }
    let names = &device.bridge_netfilter;
    let remedy = names.iter().map(|name| format!("net.bridge.{name}=0")).collect::<Vec<_>>().join(" ");
    Some(
        Finding::new(Status::Warning, check, format!("on: {}", names.join(", ")), reason)
            .remedy(format!("sysctl {remedy}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Device {
        Device {
            name: "eth0".into(),
            up: true,
            carrier: true,
            filter: Some(0),
            driver: Some("ixgbe".into()),
            offloads: Some(BTreeMap::new()),
            xdp: Some(1),
            ..Device::default()
        }
    }

    /// The check and status of all that is not "ok".
    fn remarks(device: &Device) -> Vec<(String, Status)> {
        let found = judge(device, None);
        assert!(found.iter().all(|finding| finding.ifname.as_deref() == Some("eth0")));
        let remarks = found.into_iter().filter(|finding| finding.status != Status::Ok);
        remarks.map(|finding| (finding.check, finding.status)).collect()
    }

    #[test]
    fn a_good_device_gets_no_remark() {
        assert_eq!(remarks(&good()), []);
    }

    #[test]
    fn each_fact_is_judged_by_itself() {
        let on = |feature: &str| Some([(feature.to_owned(), true)].into());
        for (device, check, status) in [
            (Device { up: false, ..good() }, "state", Status::Problem),
            (Device { carrier: false, ..good() }, "state", Status::Warning),
            (Device { offloads: on("l2-fwd-offload"), ..good() }, "l2-fwd-offload", Status::Warning),
            (Device { offloads: None, ..good() }, "offloads", Status::Note),
            (Device { promiscuity: 2, ..good() }, "receive-filter", Status::Note),
            (Device { xdp: Some(0), ..good() }, "xdp-driver", Status::Note),
            (Device { wireless: Some(Wireless::Station), ..good() }, "wifi", Status::Problem),
            (Device { driver: Some("vmxnet3".into()), ..good() }, "uplink", Status::Note),
        ] {
            assert_eq!(remarks(&device), [(check.to_owned(), status)]);
        }
    }

    #[test]
    fn who_takes_the_frames_already_is_a_problem_and_ends_the_look() {
        let taken = Device { taker: Some(("openvswitch".into(), "ovs-system".into())), up: false, ..good() };
        assert_eq!(remarks(&taken), [("master".to_owned(), Status::Problem)]);
        let port = Device { refusal: Some("it is a port of bridge \"br0\"".into()), ..good() };
        assert_eq!(remarks(&port), [("master".to_owned(), Status::Problem)]);
    }

    #[test]
    fn a_bridge_is_told_of_its_firewall_and_nobody_else_is() {
        let on = vec!["bridge-nf-call-iptables"];
        let bridge = Device { kind: Some("bridge".into()), bridge_netfilter: on.clone(), ..good() };
        assert_eq!(remarks(&bridge), [("bridge-netfilter".to_owned(), Status::Warning)]);
        let found = judge(&bridge, None).into_iter().find(|found| found.check == "bridge-netfilter");
        assert_eq!(found.unwrap().remedy.as_deref(), Some("sysctl net.bridge.bridge-nf-call-iptables=0"));
        assert_eq!(remarks(&Device { bridge_netfilter: on, ..good() }), []);
    }
}
