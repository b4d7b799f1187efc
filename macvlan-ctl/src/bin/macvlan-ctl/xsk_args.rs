//! `xsk` on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use macvlan_core::kernel::ifname::IfName;

/// Hand AF_XDP sockets of a device to programs without privileges.
#[derive(Debug, Subcommand)]
pub enum Xsk {
    /// Put a program on a device that gives its frames to such sockets, and serve clients until stopped.
    Serve(XskServe),
}

/// Serve clients until stopped.
#[derive(Debug, Args)]
pub struct XskServe {
    /// The device, where the frames arrive: in a container, with -n.
    pub device: IfName,

    /// Where clients connect: a path of a Unix socket to be made.
    pub socket: PathBuf,

    /// A user, by number, who is served beside root; may be repeated. Left out: root alone.
    #[arg(long = "uid", value_name = "UID")]
    pub users: Vec<u32>,

    /// Frames of each socket, 4 KiB each: a power of two from 64 to 65536. Left out: 4096.
    #[arg(long, value_name = "N", default_value_t = 4096, hide_default_value = true, value_parser = frames)]
    pub frames: u32,
}

fn frames(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|frames| (64..=65_536).contains(frames));
    let number = number.filter(|frames: &u32| frames.is_power_of_two());
    number.ok_or_else(|| "it must be a power of two from 64 to 65536".to_owned())
}
