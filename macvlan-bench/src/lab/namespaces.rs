//! What a lab does with namespaces beyond what the product does with them.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use macvlan_core::kernel::netns::Netns;

/// Settings without which the kernel sends frames that nobody asked for: router solicitations, duplicate
/// address detection.
pub const WITHOUT_IPV6: [(&str, u32); 2] =
    [("ipv6/conf/all/disable_ipv6", 1), ("ipv6/conf/default/disable_ipv6", 1)];

/// A path by which any process can open a namespace that this one holds open.
pub fn path_of(netns: &Netns) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd()).into()
}

/// A new namespace with these settings.
///
/// # Errors
///
/// This is not root, or a setting takes no such value.
pub fn with_settings(settings: &[(&str, u32)]) -> Result<Netns> {
    let netns = Netns::create()?;
    for (name, value) in settings {
        set(&netns, name, &value.to_string())?;
    }
    Ok(netns)
}

/// Sets `/proc/sys/net/NAME` of a namespace, and tells whether there is such a setting.
///
/// # Errors
///
/// The setting takes no such value.
pub fn set(netns: &Netns, name: &str, value: &str) -> Result<bool> {
    let path = format!("/proc/sys/net/{name}");
    netns.run(|| match fs::write(&path, value) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot write {path:?}")),
    })
}
