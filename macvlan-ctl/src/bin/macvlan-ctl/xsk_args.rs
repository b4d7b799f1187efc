//! `xsk` on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use macvlan_core::kernel::ifname::IfName;

use crate::keyword::number;

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
    #[arg(long = "uid", value_name = "UID", value_parser = number(0..=u32::MAX))]
    pub users: Vec<u32>,

    /// Frames of each socket, 4 KiB each: 64 to 65536, rounded up to a power of two. Left out: 4096.
    #[arg(long, value_name = "N", default_value_t = 4096, hide_default_value = true, value_parser = number(64..=65_536_u32))]
    pub frames: u32,
}
