//! `xsk serve`.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use caps::Capability;
use macvlan_core::follow::privileges;
use macvlan_ctl::xsk::{Offer, Server};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{args::Cli, output::print_json, xsk_args::XskServe};

/// What serving needs: sockets, their memory beyond the limit of locked memory and, before kernel 5.19, the map.
const NEEDED: [Capability; 3] = [Capability::CAP_NET_RAW, Capability::CAP_IPC_LOCK, Capability::CAP_BPF];

/// One line of JSON: clients may come.
#[derive(Serialize)]
struct Serving<'a> {
    ifname: &'a str,
    socket: &'a str,
    xdp: &'static str,
}

/// Serves clients until stopped.
pub async fn serve(cli: &Cli, args: &XskServe) -> Result<()> {
    let stop = |kind| signal(kind).context("cannot wait for signals");
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let offer = Offer {
        device: args.device.clone(),
        socket: args.socket.clone(),
        users: args.users.clone(),
        frames: args.frames.next_power_of_two(),
    };
    let server = Server::start(offer).await?;
    privileges::keep_only(&NEEDED.into_iter().collect())?;
    let xdp = if server.is_native() { "native" } else { "generic" };
    let (ifname, socket) = (args.device.as_str(), &args.socket.to_string_lossy());
    match cli.json {
        true => print_json(&Serving { ifname, socket, xdp })?,
        false => writeln!(io::stdout(), "{ifname}: {xdp} XDP, sockets at {socket}")?,
    }
    tokio::select! {
        ended = server.serve() => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
