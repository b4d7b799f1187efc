//! `install-cni`: the plugin and a network, where a container runtime looks.

use anyhow::Result;

use super::cni_files;
use crate::args::{Cli, InstallCni};

/// Installs what was asked for, and with `-v` says where.
pub fn install_cni(cli: &Cli, args: &InstallCni) -> Result<()> {
    let mut installed = vec![cni_files::plugin(&cni_files::packaged_plugin()?, &args.plugins)?];
    if let Some(file) = &args.network {
        installed.push(cni_files::network(file, &args.networks)?);
    }
    if cli.verbose {
        installed.iter().for_each(|path| println!("{}", path.display()));
    }
    Ok(())
}
