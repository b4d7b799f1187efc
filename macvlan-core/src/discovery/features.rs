//! What this kernel lets us have, found by doing it, in a network namespace that nobody else sees.
//!
//! The namespace and all that is tried in it end with the probe. No device of the machine is touched.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{
        LinkOrder, Program, SchedClassifier, TcAttachType, Xdp, XdpMode,
        tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
    },
};
use macvlan_common::{child::Mode, names};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rtnetlink::LinkVeth;
use tokio::runtime::Builder;

use crate::{
    datapath::{
        bpf::{
            hooks::refusal::{Mechanism, flat, reason, refused},
            load::no_maps,
            object::object,
        },
        shim,
    },
    discovery::masters::master_of_link,
    kernel::{
        errno::errno,
        netlink::{
            Netlink,
            kind::Kind,
            macvlan::{Change, NewChild},
            route::HostRoute,
        },
        netns::Netns,
    },
    model::shim::shim_name,
};

/// Something that the data path is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// Our maps.
    Maps,
    /// Our program of this name.
    Program(String),
    /// A network namespace with a veth pair, where the rest is tried.
    Scratch,
    /// TCX links on both hooks (kernel 6.6).
    Tcx,
    /// A clsact qdisc with filters on both hooks.
    Clsact,
    /// XDP in a driver: that of veth.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
    /// A macvlan on a device.
    Macvlan,
    /// A macvlan of the host's own with a route to a child: see [`shim`].
    Shim,
    /// Ids of network namespaces.
    Nsid,
    /// A netlink socket that hears of all numbered namespaces (`NETLINK_LISTEN_ALL_NSID`).
    ListenAllNsid,
}

/// A feature that was tried, and why it is unavailable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The feature.
    pub feature: Feature,
    /// The reason, on one line, where it failed.
    pub outcome: Result<(), String>,
}

impl Tried {
    fn new(feature: Feature, outcome: Result<()>) -> Self {
        Self { feature, outcome: outcome.map_err(|error| format!("{error:#}")) }
    }
}

/// Tries every feature that can be tried with the rights of this process. What builds on a feature
/// that failed is not in the answer.
pub fn probe_features() -> Vec<Tried> {
    // On a thread of its own: an event loop cannot be started within that of the caller.
    let inside = Netns::create().and_then(|netns| {
        netns.run(|| {
            let mut tried = Vec::new();
            let mut object = load(&mut tried);
            Builder::new_current_thread().enable_all().build()?.block_on(scratch(&mut tried, &mut object));
            Ok(tried)
        })
    });
    inside.unwrap_or_else(|error| {
        let mut tried = Vec::new();
        load(&mut tried);
        tried.push(Tried::new(Feature::Scratch, Err(error)));
        tried
    })
}

/// Makes the maps and loads the programs, one by one.
fn load(tried: &mut Vec<Tried>) -> Option<Ebpf> {
    let mut object = match EbpfLoader::new().load(object()) {
        Ok(object) => object,
        Err(error) => {
            tried.push(Tried::new(Feature::Maps, Err(no_maps(&error))));
            return None;
        }
    };
    tried.push(Tried::new(Feature::Maps, Ok(())));
    let mut programs: Vec<_> = object.programs_mut().collect();
    programs.sort_by_key(|(name, _)| *name);
    for (name, program) in programs {
        let loaded = match program {
            Program::SchedClassifier(program) => program.load(),
            Program::Xdp(program) => program.load(),
            _ => continue,
        };
        let outcome = loaded.map_err(|error| refused(name, &error));
        tried.push(Tried::new(Feature::Program(name.to_owned()), outcome));
    }
    Some(object)
}

/// The device that all is tried on, and its other end.
const DEVICE: &str = "probe0";

const PEER: &str = "probe1";

/// Tries the rest, in the scratch namespace that the thread is in.
async fn scratch(tried: &mut Vec<Tried>, object: &mut Option<Ebpf>) {
    let (netlink, index) = match make_device().await {
        Ok(device) => device,
        Err(error) => return tried.push(Tried::new(Feature::Scratch, Err(error))),
    };
    tried.push(Tried::new(Feature::Scratch, Ok(())));
    tried.push(Tried::new(Feature::Macvlan, make_macvlan(&netlink, index).await));
    tried.push(Tried::new(Feature::Shim, make_shim(&netlink).await));
    tried.push(Tried::new(Feature::Nsid, number_a_namespace(&netlink).await));
    tried.push(Tried::new(Feature::ListenAllNsid, listen_to_all()));
    let Some(object) = object else { return };
    let is_loaded = |name: &str| {
        tried.iter().any(|tried| {
            tried.outcome.is_ok() && matches!(&tried.feature, Feature::Program(loaded) if loaded == name)
        })
    };
    let tc = is_loaded(names::INGRESS) && is_loaded(names::EGRESS);
    let xdp = [names::XDP_FRAGS, names::XDP].into_iter().find(|name| is_loaded(name));
    if tc {
        tried.push(Tried::new(Feature::Tcx, attach_tcx(object)));
        tried.push(Tried::new(Feature::Clsact, attach_clsact(object)));
    }
    if let Some(name) = xdp {
        tried.push(Tried::new(Feature::XdpNative, attach_xdp(object, name, index, XdpMode::Driver)));
        tried.push(Tried::new(Feature::XdpGeneric, attach_xdp(object, name, index, XdpMode::Skb)));
    }
}

async fn make_device() -> Result<(Netlink, u32)> {
    let netlink = Netlink::open()?;
    let message = RouteNetlinkMessage::NewLink(LinkVeth::new(DEVICE, PEER).build());
    netlink.change(message, NLM_F_CREATE | NLM_F_EXCL).await.context("cannot make a veth pair")?;
    let link = netlink.link_by_name(DEVICE).await?.context("the veth pair vanished")?;
    Ok((netlink, link.index))
}

async fn make_macvlan(netlink: &Netlink, master: u32) -> Result<()> {
    let child = NewChild {
        master,
        name: "probe-child",
        kind: Kind::Macvlan,
        mode: Mode::Bridge,
        mac: None,
        mtu: None,
        bcqueuelen: None,
    };
    let made = netlink.create_child(&child, &Netns::current()?, netlink).await;
    made.map(drop).context("cannot make a macvlan")
}

/// Makes a shim on the device and takes it off again.
async fn make_shim(netlink: &Netlink) -> Result<()> {
    let change = Change { up: Some(true), ..Change::default() };
    let link = netlink.link_by_name(DEVICE).await?.context("the device vanished")?;
    netlink.change_child(link.index, Kind::Macvlan, &change).await.context("cannot bring a device up")?;
    netlink.add_address(link.index, "192.0.2.1/24".parse()?).await?;
    let master = master_of_link(netlink, link).await?;
    let made = shim::raise(netlink, &master, &[], &[], &BTreeMap::new()).await;
    let name = shim_name(&master);
    if let Some(link) = netlink.link_by_name(&name).await? {
        let route = HostRoute { to: "192.0.2.2".parse()?, source: "192.0.2.1".parse()? };
        netlink.add_host_route(link.index, route).await?;
        netlink.delete_link(link.index, None).await?;
    }
    made.map(drop)
}

async fn number_a_namespace(netlink: &Netlink) -> Result<()> {
    let other = Netns::create()?;
    match netlink.assign_nsid(&other).await? {
        Some(_) => Ok(()),
        None => bail!("the kernel gave a namespace no id"),
    }
}

fn listen_to_all() -> Result<()> {
    let listening = Socket::new(NETLINK_ROUTE).and_then(|socket| socket.set_listen_all_namespaces(true));
    listening.map_err(|error| anyhow!("cannot listen to all namespaces: {}", errno(&error)))
}

/// The hooks in the order in which they are taken.
const HOOKS: [(&str, TcAttachType); 2] =
    [(names::INGRESS, TcAttachType::Ingress), (names::EGRESS, TcAttachType::Egress)];

fn attach_tcx(object: &mut Ebpf) -> Result<()> {
    for (name, hook) in HOOKS {
        let order = if hook == TcAttachType::Ingress { LinkOrder::first() } else { LinkOrder::last() };
        attach_tc(object, name, hook, TcAttachOptions::TcxOrder(order))?;
    }
    Ok(())
}

fn attach_clsact(object: &mut Ebpf) -> Result<()> {
    qdisc_add_clsact(DEVICE).map_err(|error| anyhow!("cannot add a clsact qdisc: {}", flat(&error)))?;
    for (name, hook) in HOOKS {
        attach_tc(object, name, hook, TcAttachOptions::Netlink(NlOptions::default()))?;
    }
    Ok(())
}

/// Attaches a program, and takes it off again.
fn attach_tc(object: &mut Ebpf, name: &str, hook: TcAttachType, options: TcAttachOptions) -> Result<()> {
    let place =
        if matches!(options, TcAttachOptions::Netlink(_)) { Mechanism::Filter } else { Mechanism::Tcx };
    let program: &mut SchedClassifier = object.program_mut(name).context("no such program")?.try_into()?;
    let link = program.attach_with_options(DEVICE, hook, options);
    let link = link.map_err(|error| anyhow!("{}", reason(place, &error)))?;
    program.detach(link).map_err(|error| anyhow!("cannot detach it again: {}", flat(&error)))
}

fn attach_xdp(object: &mut Ebpf, name: &str, index: u32, mode: XdpMode) -> Result<()> {
    let program: &mut Xdp = object.program_mut(name).context("no such program")?.try_into()?;
    let link = program
        .attach_to_if_index(index, mode)
        .map_err(|error| anyhow!("{}", reason(Mechanism::Xdp, &error)))?;
    program.detach(link).map_err(|error| anyhow!("cannot detach it again: {}", flat(&error)))
}
