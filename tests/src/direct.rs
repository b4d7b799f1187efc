//! The BPF programs on a master without the product's own control program.
//!
//! For tests of the programs alone; what a user runs is [`crate::attached::Attached`].

use aya::programs::{LinkOrder, TcAttachType, XdpMode, tc::TcAttachOptions};
use macvlan_common::{
    cases::{World, WorldChild},
    child::Policy,
    config::Config,
    counters::{Count, DROP_REASONS, FLOOD_ORIGINS, PATHS},
    names,
};
use serde_json::{Map, Value, json};

use crate::{
    fail::OrFail as _,
    lab::Lab,
    netns::Netns,
    progs::{Programs, tc_mut, xdp_mut},
    stats::Stats,
};

/// Programs attached until this is dropped.
pub struct Direct {
    programs: Programs,
    names: Vec<String>,
}

impl Direct {
    /// Puts the programs on the lab's master, with the children made so far.
    #[track_caller]
    pub fn attach(lab: &Lab, xdp: Option<XdpMode>) -> Self {
        let children = lab.children();
        let known =
            children.iter().map(|child| WorldChild::new("", child.mac, Policy::new(child.mode, true)));
        let programs = Self::on(&lab.host.ns, &lab.host.dev, &World::new(known.collect()), xdp);
        Self { programs, names: children.into_iter().map(|child| child.name).collect() }
    }

    /// Puts the programs on a device.
    #[track_caller]
    pub fn on(ns: &Netns, device: &str, world: &World, xdp: Option<XdpMode>) -> Programs {
        let mut programs = Programs::load();
        let mut world = world.clone();
        world.config.flags |= match xdp {
            Some(XdpMode::Driver) => Config::XDP_NATIVE,
            Some(XdpMode::Skb) => Config::XDP_GENERIC,
            _ => 0,
        };
        programs.set_world(&world);
        ns.enter(|| {
            let sides = [(names::INGRESS, TcAttachType::Ingress), (names::EGRESS, TcAttachType::Egress)];
            for (name, side) in sides {
                let order = TcAttachOptions::TcxOrder(LinkOrder::default());
                let program = tc_mut(&mut programs.ebpf, name);
                program.attach_with_options(device, side, order).or_fail(format!("attach {name}"));
            }
            if let Some(mode) = xdp {
                let program = xdp_mut(&mut programs.ebpf, names::XDP_FRAGS);
                program.attach(device, mode).or_fail("attach the XDP program");
            }
        });
        programs
    }

    /// The programs and their maps.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The counters, in the product's form.
    #[track_caller]
    pub fn stats(&self) -> Stats {
        let counters = self.programs.counters();
        let children = self.names.iter().zip(&counters.children).map(|(name, child)| {
            let mut fields = Map::from_iter([("ifname".to_owned(), json!(name))]);
            for path in PATHS {
                let (rx, tx) = (child.rx[path as usize], child.tx[path as usize]);
                fields.insert(path.as_str().into(), json!({ "rx": count(rx), "tx": count(tx) }));
            }
            fields.insert("drops".into(), drops(&child.drops));
            Value::Object(fields)
        });
        let children: Vec<_> = children.collect();
        let totals = counters.totals;
        let floods =
            FLOOD_ORIGINS.map(|origin| (origin.as_str().to_owned(), count(totals.flood[origin as usize])));
        Stats::of(&json!([{
            "unknown_unicast": count(totals.unknown_unicast),
            "flood": Map::from_iter(floods),
            "drops": drops(&totals.drops),
            "children": children,
        }]))
    }
}

fn drops(counts: &[Count; DROP_REASONS.len()]) -> Value {
    let drops = DROP_REASONS.map(|reason| (reason.as_str().to_owned(), count(counts[reason as usize])));
    Map::from_iter(drops).into()
}

fn count(count: Count) -> Value {
    json!({ "packets": count.packets, "bytes": count.bytes })
}
