//! `xsk serve`.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use caps::Capability;
use macvlan_core::follow::privileges;
use macvlan_ctl::xsk::{Given, Offer, Server};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Cli, XskServe},
    output::print_json,
};

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
        frames: args.frames,
    };
    let is_told = cli.verbose;
    let tell = move |given: Given| {
        if is_told {
            tell(&given);
        }
    };
    let server = Server::start(offer, Box::new(tell)).await?;
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

fn tell(given: &Given) {
    let Given { queue, process, user } = given;
    match queue {
        Some(queue) => eprintln!("macvlan-ctl: socket of queue {queue} to process {process}, uid {user}"),
        None => eprintln!("macvlan-ctl: map of sockets to process {process}, uid {user}"),
    }
}
