//! `detach`.

use anyhow::Result;
use macvlan_core::commands::detach;

use crate::{
    args::{Cli, Detach},
    outcome::print_steps,
};

/// Detaches from a device and says what was done.
pub async fn detach(cli: &Cli, args: &Detach) -> Result<()> {
    let outcome = detach::detach(&args.master, args.delete_children, args.extent.access()).await?;
    print_steps(cli, &args.extent, &outcome.steps)
}
