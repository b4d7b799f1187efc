//! What arrived, as the kernel counts it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use macvlan_core::kernel::netns::Netns;

/// How long counters may take to stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long they must do so: the kernel's workers have to come to their turn.
const STILL: Duration = Duration::from_millis(10);

/// Frames that a device received, as its driver counts them.
///
/// # Errors
///
/// There is no such device.
pub fn received(netns: &Netns, device: &str) -> Result<u64> {
    netns.run(|| {
        let text = fs::read_to_string("/proc/thread-self/net/dev").context("cannot read device counters")?;
        received_of(&text, device).with_context(|| format!("no counters of {device:?}"))
    })
}

/// Frames that all devices but the loopback device received together.
///
/// # Errors
///
/// The kernel does not count them.
pub fn received_by_all(netns: &Netns) -> Result<u64> {
    let text = netns
        .run(|| fs::read_to_string("/proc/thread-self/net/dev").context("cannot read device counters"))?;
    let devices = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let counts = devices
        .filter(|device| *device != "lo")
        .map(|device| received_of(&text, device).with_context(|| format!("no counters of {device:?}")));
    counts.sum()
}

/// IPv4 packets that a namespace took for its own: what else reaches a device, because a bridge
/// floods it, is not among them (`PACKET_OTHERHOST` in `ip_rcv_core`).
///
/// # Errors
///
/// The kernel does not count them.
pub fn packets_delivered(netns: &Netns) -> Result<u64> {
    netns.run(|| {
        let text = fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read IP counters")?;
        delivered_of(&text).context("the kernel does not count delivered packets")
    })
}

/// A counter once it stands still: queues are worked off after the sender is done.
///
/// # Errors
///
/// It does not within half a minute, or cannot be read.
pub fn settled(count: impl Fn() -> Result<u64>) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = count()?;
    loop {
        thread::sleep(STILL);
        let now = count()?;
        if now == last {
            return Ok(now);
        }
        if Instant::now() > deadline {
            bail!("frames keep arriving");
        }
        last = now;
    }
}

/// The field below its name: two lines begin with `Ip:`.
fn delivered_of(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut fields = names.split_whitespace().zip(values.split_whitespace());
    fields.find_map(|(name, value)| (name == "InDelivers").then(|| value.parse().ok()))?
}

/// The second field of the device's line: bytes come first.
fn received_of(text: &str, device: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_frames_are_in_the_second_field() {
        let text = "Inter-| Receive\n face |bytes packets\n    lo:       1       2    0\n  eth0: 300   4 0\n";
        assert_eq!(received_of(text, "lo"), Some(2));
        assert_eq!(received_of(text, "eth0"), Some(4));
        assert_eq!(received_of(text, "eth"), None);
    }

    #[test]
    fn delivered_packets_are_found_by_their_name() {
        let text = "Ip: Forwarding InReceives InDelivers\nIp: 1 9 7\nIcmp: InMsgs\nIcmp: 0\n";
        assert_eq!(delivered_of(text), Some(7));
        assert_eq!(delivered_of("Ip: Forwarding\n"), None);
    }
}
