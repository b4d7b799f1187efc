//! `child add`, `child del`, `child set`.

use anyhow::Result;
use macvlan_core::{
    commands::{child_add, child_del, child_set},
    model::spec::ChildSpec,
};

use crate::{
    args::{Cli, GuardedSpecs, Specs},
    outcome::print_outcome,
};

/// Makes children.
pub async fn add(cli: &Cli, specs: &GuardedSpecs) -> Result<()> {
    let Specs { master, extent, .. } = &specs.specs;
    print_outcome(cli, extent, &child_add::add(master, &guarded(specs)?, extent.access()).await?)
}

/// Deletes children.
pub async fn del(cli: &Cli, specs: &Specs) -> Result<()> {
    let Specs { master, children, extent } = specs;
    print_outcome(cli, extent, &child_del::del(master, &parse(children)?, extent.access()).await?)
}

/// Changes children.
pub async fn set(cli: &Cli, specs: &GuardedSpecs) -> Result<()> {
    let Specs { master, extent, .. } = &specs.specs;
    print_outcome(cli, extent, &child_set::set(master, &guarded(specs)?, extent.access()).await?)
}

/// The children of these specifications.
pub fn parse(specs: &[String]) -> Result<Vec<ChildSpec>> {
    specs.iter().map(|spec| spec.parse()).collect()
}

/// The children of these, with what is set for all of them.
fn guarded(specs: &GuardedSpecs) -> Result<Vec<ChildSpec>> {
    let mut children = parse(&specs.specs.children)?;
    for child in &mut children {
        child.settings.policy = child.settings.policy.or(specs.policy());
    }
    Ok(children)
}
