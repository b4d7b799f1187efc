//! `child add`, `child del`, `child set`.

use anyhow::Result;
use clap::error::ErrorKind;
use macvlan_core::{
    commands::{child_add, child_del, child_set},
    kernel::ifname::IfName,
    model::{child_name::ChildName, spec::ChildSpec},
};

use crate::{
    args::{Cli, GuardedSpecs, NamesChild, Specs},
    outcome::print_outcome,
};

/// Makes children.
pub async fn add(cli: &Cli, specs: &GuardedSpecs<IfName>) -> Result<()> {
    let Specs { master, extent, .. } = &specs.specs;
    print_outcome(cli, extent, &child_add::add(master, &guarded(specs), extent.access()).await?)
}

/// Deletes children.
pub async fn del(cli: &Cli, specs: &Specs<ChildName>) -> Result<()> {
    let Specs { master, children, extent } = specs;
    print_outcome(cli, extent, &child_del::del(master, children, extent.access()).await?)
}

/// Changes children.
pub async fn set(cli: &Cli, specs: &GuardedSpecs<ChildName>) -> Result<()> {
    let Specs { master, extent, .. } = &specs.specs;
    let changes = guarded(specs);
    if let Some(empty) = changes.iter().find(|change| change.settings.change_nothing()) {
        let name = empty.name.as_str();
        let message = format!(
            "nothing to change of child {name:?}; write what: {name},KEY=VALUE, see: macvlan-ctl help child set\n"
        );
        return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, message).into());
    }
    print_outcome(cli, extent, &child_set::set(master, &changes, extent.access()).await?)
}

/// The children of these, with what is set for all of them.
fn guarded<Name: NamesChild>(specs: &GuardedSpecs<Name>) -> Vec<ChildSpec<Name>> {
    let mut children = specs.specs.children.clone();
    for child in &mut children {
        child.settings.policy = child.settings.policy.or(specs.policy());
    }
    children
}
