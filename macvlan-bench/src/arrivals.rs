//! What arrived, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result};
use macvlan_core::kernel::netns::Netns;

/// Frames that a device received, as its driver counts them.
///
/// # Errors
///
/// When there is no such device.
pub fn received(netns: &Netns, device: &str) -> Result<u64> {
    netns.run(|| {
        let text = fs::read_to_string("/proc/thread-self/net/dev").context("cannot read device counters")?;
        received_of(&text, device).with_context(|| format!("no counters of {device:?}"))
    })
}

/// IPv4 packets that a namespace took for its own: what else reaches a device, because a bridge
/// floods it, is not among them (`PACKET_OTHERHOST` in `ip_rcv_core`).
///
/// # Errors
///
/// When the kernel does not tell.
pub fn packets_delivered(netns: &Netns) -> Result<u64> {
    netns.run(|| {
        let text = fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read IP counters")?;
        delivered_of(&text).context("the kernel does not count delivered packets")
    })
}

/// The field below its name: two lines begin with `Ip:`.
fn delivered_of(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut fields = names.split_whitespace().zip(values.split_whitespace());
    fields.find_map(|(name, value)| (name == "InDelivers").then(|| value.parse().ok()))?
}

/// The second field of the device's line: octets come first.
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
