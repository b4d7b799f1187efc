//! `doctor`: everything that decides how well it will work, on this machine or on a device.
//!
//! Reading and judging are apart: what was read is plain data, and what it means is a pure function
//! of that. What the kernel lets us have is found by doing it, in a namespace made for that
//! (`features`); nothing is attached to a device of the machine.

mod children;
mod device;
mod features;
pub mod finding;
mod offloads;
mod privileges;
mod programs;
mod settings;
mod uplink;
mod wifi;
mod xdp;

use anyhow::{Context as _, Result};

use crate::{
    commands::{
        doctor::{
            children::{DataPath, Namespaces, judge_datapath, judge_departed, judge_macs, judge_namespaces},
            device::Device,
            features::Surroundings,
            privileges::Privileges,
            settings::Settings,
        },
        work::Work,
    },
    datapath::{
        Datapath as _,
        bpf::{attached, hooks::on_device::OnDevice, moved},
    },
    discovery::{
        access::Access,
        children::{Observed, find_children},
        datapath::{datapath_of, find_datapath},
        features::probe_features,
        masters::{self, find_link, master_of_link, missing},
    },
    kernel::netlink::{Netlink, link::Link},
    model::{master::Master, master_name::MasterName},
};

pub use crate::commands::doctor::finding::{Finding, Status};

/// Looks at this machine, and at the device `name` or, without one, at every device that has
/// children or a data path. Changes nothing.
///
/// # Errors
///
/// Netlink does not list the devices. A device that is not there is a finding.
pub fn examine(name: Option<&str>) -> Work<'_, Vec<Finding>> {
    Box::pin(examine_all(name))
}

async fn examine_all(name: Option<&str>) -> Result<Vec<Finding>> {
    let privileges = Privileges::of_self();
    let mut findings = examine_machine(&privileges);
    let netlink = Netlink::open()?;
    let observed = find_children(&netlink, Access::Read).await.context("cannot look for children")?;
    findings.push(judge_namespaces(&Namespaces::look()));
    if privileges.root {
        findings.extend(judge_departed(&moved::departed(&netlink).await));
    }
    match name {
        Some(name) => findings.extend(examine_named(&netlink, &observed, name, privileges.root).await?),
        None => {
            for master in masters::masters(&netlink, &observed, None).await? {
                let link = netlink.link_by_index(master.index, None).await?;
                // It may have gone since it was listed.
                if let Some(link) = link {
                    findings.extend(examine_device(&netlink, &observed, link, privileges.root).await?);
                }
            }
        }
    }
    Ok(findings)
}

fn examine_machine(privileges: &Privileges) -> Vec<Finding> {
    let mut findings = privileges::judge(privileges);
    findings.extend(settings::judge(&Settings::read()));
    let tried = if privileges.root { probe_features() } else { Vec::new() };
    findings.extend(features::judge(&tried, &Surroundings::of_self(privileges.root)));
    findings
}

async fn examine_named(
    netlink: &Netlink,
    observed: &Observed,
    name: &str,
    root: bool,
) -> Result<Vec<Finding>> {
    let problem = |found: String| {
        let reason = "children are made on a device of this network namespace";
        vec![Finding::new(Status::Problem, "master", found, reason).remedy("ip link").on(name)]
    };
    let name: MasterName = match name.parse() {
        Ok(name) => name,
        Err(error) => return Ok(problem(error.to_string())),
    };
    match find_link(netlink, &name).await? {
        None => Ok(problem(missing(&name).into())),
        Some(link) => examine_device(netlink, observed, link, root).await,
    }
}

async fn examine_device(
    netlink: &Netlink,
    observed: &Observed,
    link: Link,
    root: bool,
) -> Result<Vec<Finding>> {
    let device = Device::read(netlink, &link).await?;
    let mut findings = device::judge(&device, uplink::vendor().as_deref());
    let Ok(master) = master_of_link(netlink, link).await else { return Ok(findings) };
    let ours = match root {
        true => Some(attached::program_ids(netlink, &master).await),
        false => None,
    };
    let mut programs = OnDevice::read(netlink, master.index).await?;
    programs.name_all();
    let children = observed.of(master.index);
    let mut more = programs::judge(&programs, ours.as_deref());
    more.extend(judge_datapath(
        &master.name,
        &read_datapath(netlink, &master, observed, root).await?,
        children,
    ));
    more.push(judge_macs(master.mac, children));
    findings.extend(more.into_iter().map(|finding| finding.on(&master.name)));
    Ok(findings)
}

async fn read_datapath(
    netlink: &Netlink,
    master: &Master,
    observed: &Observed,
    root: bool,
) -> Result<DataPath> {
    if !root {
        return Ok(DataPath::Hidden);
    }
    Ok(match find_datapath(netlink, master).await {
        (Ok(bpf), _) => {
            let members = bpf.members().policies.keys().copied().collect();
            DataPath::Attached(bpf.description().clone(), members)
        }
        (Err(why), true) if attached::incompatible(master).is_some() => DataPath::Foreign(why),
        (Err(why), true) => DataPath::Broken(why),
        (Err(why), false) if !observed.shims_of(master.index).is_empty() => {
            let kernel = datapath_of(netlink, master, Err(why), observed).await?;
            let all = observed.of(master.index).iter().map(|child| child.mac).collect();
            DataPath::Attached(kernel.description().clone(), all)
        }
        (Err(why), false) => DataPath::Absent(why),
    })
}
