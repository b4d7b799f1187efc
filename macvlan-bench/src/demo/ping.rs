//! One question and its answer.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use surge_ping::{Client, Config, PingIdentifier, PingSequence, SurgeError};

/// How long to wait for each answer: ages, on veth.
const PATIENCE: Duration = Duration::from_millis(250);

/// The first request also waits for address resolution.
const TRIES: u16 = 3;

/// Whether `to` answers `from`, asked out of the namespace of the calling thread.
pub async fn ping(to: IpAddr, from: IpAddr) -> Result<bool> {
    let config = Config::builder().bind(SocketAddr::new(from, 0)).build();
    let client = Client::new(&config).context("cannot open a ping socket")?;
    let mut pinger = client.pinger(to, PingIdentifier(0x6d76)).await;
    pinger.timeout(PATIENCE);
    for sequence in 0..TRIES {
        match pinger.ping(PingSequence(sequence), b"macvlan-ctl demo").await {
            Ok(_) => return Ok(true),
            Err(SurgeError::Timeout { .. } | SurgeError::IOError(_)) => {}
            Err(error) => return Err(error).context("cannot ping"),
        }
    }
    Ok(false)
}
