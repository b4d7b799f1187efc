//! What is forgotten with a data path: settings of a master and its children that are not the default.

use std::collections::BTreeMap;

use macvlan_common::mac::Mac;

use crate::{
    datapath::{Datapath as _, bpf::attached, shim},
    discovery::locked_master::LockedMaster,
    model::{child::Child, options::DEFAULT_MAX_CHILDREN},
    plan::describe::words::{told, unusual},
    policy::change::PolicyChange,
};

/// The settings that a detach forgets, of the master and then of each child that stays: "eth0: storm-limit
/// 1000". Those that cannot be read are left out: that is no reason not to detach.
pub async fn forgotten(locked: &LockedMaster, deletes_children: bool) -> Vec<String> {
    let of_master = of_master(locked);
    let mut lines: Vec<String> = (!of_master.is_empty())
        .then(|| format!("{}: {}", locked.master.name, of_master.join(", ")))
        .into_iter()
        .collect();
    let settings = of_children(locked).await;
    let goes = |child: &Child| child.unfinished || (deletes_children && child.owned);
    for child in locked.children().iter().filter(|child| !goes(child)) {
        let setting = settings.get(&child.mac).map(|setting| unusual(*setting)).unwrap_or_default();
        if !setting.is_empty() {
            lines.push(format!("{}: {}", told(child), setting.join(", ")));
        }
    }
    lines
}

fn of_master(locked: &LockedMaster) -> Vec<String> {
    let options = match &locked.attached {
        Ok(bpf) => Some(bpf.options()),
        Err(_) => attached::recorded_options(&locked.master),
    };
    let mut settings = options.map(|options| options.unusual()).unwrap_or_default();
    let most = locked.max_children();
    settings.extend((most != DEFAULT_MAX_CHILDREN).then(|| format!("max-children {most}")));
    settings
}

async fn of_children(locked: &LockedMaster) -> BTreeMap<Mac, PolicyChange> {
    if let Ok(bpf) = &locked.attached {
        let members = bpf.members();
        let macs = members.policies.keys();
        return macs.filter_map(|mac| Some((*mac, members.setting_of(*mac)?))).collect();
    }
    let Some(shim) = locked.shims().iter().find(|shim| shim.finished) else { return BTreeMap::new() };
    let children: Vec<&Child> = locked.children().iter().collect();
    let survey = shim::survey(&locked.master, Some(shim), &children, &BTreeMap::new()).await;
    let access = survey.map(|survey| survey.present.access()).unwrap_or_default();
    let change = |on| PolicyChange { host_access: Some(on), ..PolicyChange::default() };
    access.into_iter().map(|(mac, on)| (mac, change(on))).collect()
}
