//! `detach`.

use anyhow::Result;
use macvlan_core::commands::detach;

use crate::{
    args::{Cli, Detach},
    outcome::print_outcome,
};

/// Detaches from a device and says what was done.
pub async fn detach(cli: &Cli, args: &Detach) -> Result<()> {
    let outcome = detach::detach(&args.master, args.delete_children, args.extent.access()).await?;
    print_outcome(cli, &args.extent, &outcome)
}
