//! Echo requests, and whether they are answered.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use macvlan_core::kernel::netns::Netns;

use crate::lab::frames::checksum;

/// Between two requests.
const INTERVAL: Duration = Duration::from_millis(100);

const ICMP_ECHO: u8 = 8;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// Whether `to` answers an echo request out of a namespace in time, asked again and again as `ping` does.
///
/// # Errors
///
/// Without `CAP_NET_RAW`.
pub fn is_answered(netns: &Netns, to: IpAddr, patience: Duration) -> Result<bool> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let identifier = NEXT.fetch_add(1, Ordering::Relaxed);
    let socket = netns.run(|| icmp_socket(to).context("cannot open an ICMP socket"))?;
    let start = Instant::now();
    for sequence in 1_u16.. {
        let asked = Instant::now();
        // Where there is no route, or no neighbour, the kernel says so: that is no answer.
        let _ = socket.send_to(&echo_request(to, identifier, sequence), SocketAddr::new(to, 0));
        while let Some(left) = INTERVAL.checked_sub(asked.elapsed()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left)).context("cannot limit waiting")?;
            let mut buffer = [0; 2048];
            let Ok(len) = socket.recv(&mut buffer) else { continue };
            if is_reply(&buffer[..len], to, identifier) {
                return Ok(true);
            }
        }
        if start.elapsed() >= patience {
            break;
        }
    }
    Ok(false)
}

/// A raw socket. It sends and receives as a UDP socket of the standard library does.
fn icmp_socket(to: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // SAFETY: takes and gives back integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just opened, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

fn echo_request(to: IpAddr, identifier: u16, sequence: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { ICMP_ECHO } else { ICMPV6_ECHO };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(b"macvlan-ctl");
    if to.is_ipv4() {
        // For IPv6 the kernel does it: the addresses are part of the sum.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Whether what a socket received is the answer to a request with this identifier.
fn is_reply(received: &[u8], from: IpAddr, identifier: u16) -> bool {
    // IPv4 gives the IP header as well.
    let (message, reply) = if from.is_ipv4() {
        let Some(first) = received.first() else { return false };
        (received.get(usize::from(first & 0xf) * 4..).unwrap_or_default(), ICMP_ECHO_REPLY)
    } else {
        (received, ICMPV6_ECHO_REPLY)
    };
    let [kind, _, _, _, high, low, ..] = message else { return false };
    *kind == reply && u16::from_be_bytes([*high, *low]) == identifier
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::lab::frames::{ipv4, ipv6};

    #[test]
    fn a_reply_is_one_to_our_own_request() {
        let (four, six) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let reply = |to: IpAddr, kind| [&[kind][..], &echo_request(to, 7, 1)[1..]].concat();
        let packet = |kind| ipv4(four, four, 1, &reply(four.into(), kind));
        assert!(is_reply(&packet(ICMP_ECHO_REPLY), four.into(), 7));
        assert!(!is_reply(&packet(ICMP_ECHO_REPLY), four.into(), 8));
        assert!(!is_reply(&packet(ICMP_ECHO), four.into(), 7));
        assert!(is_reply(&reply(six.into(), ICMPV6_ECHO_REPLY), six.into(), 7));
        assert!(!is_reply(&ipv6(six, six, 58, &reply(six.into(), ICMPV6_ECHO_REPLY)), six.into(), 7));
        assert!(!is_reply(&[], four.into(), 7));
        assert_eq!(checksum(&echo_request(four.into(), 7, 1)), 0);
    }
}
