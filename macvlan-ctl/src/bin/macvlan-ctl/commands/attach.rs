//! `attach`.

use anyhow::Result;
use macvlan_core::{commands::attach, model::request::AttachRequest};

use crate::{
    args::{Attach, Cli},
    outcome::print_outcome,
};

/// Attaches to a device and says what was done.
pub async fn attach(cli: &Cli, args: &Attach) -> Result<()> {
    let request = AttachRequest {
        children: args.children.clone(),
        options: args.options.to_options(),
        dry_run: args.extent.dry_run,
        ..AttachRequest::default()
    };
    print_outcome(cli, &args.extent, &attach::attach(&args.master, &request).await?)
}
