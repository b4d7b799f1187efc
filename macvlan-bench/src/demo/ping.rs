//! One question and its answer.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use std::os::fd::AsRawFd as _;

/// How long to wait for each answer: ages, on veth.
const PATIENCE: Duration = Duration::from_millis(250);

/// The first request also waits for address resolution.
const TRIES: u16 = 3;

/// Tells our requests from those of others.
const IDENTIFIER: u16 = 0x6d76;

/// Whether `to` answers `from`, asked out of the namespace of the calling thread.
///
/// # Errors
///
/// The process may not open a raw socket, or `from` is no address of the namespace.
pub fn ping(to: Ipv4Addr, from: Ipv4Addr) -> Result<bool> {
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)
        .context("cannot open a ping socket")?;
    let patience = TimeVal::milliseconds(i64::try_from(PATIENCE.as_millis())?);
    setsockopt(&raw, ReceiveTimeout, &patience).context("cannot limit waiting")?;
    let [to, from] = [to, from].map(|address| SockaddrIn::from(std::net::SocketAddrV4::new(address, 0)));
    bind(raw.as_raw_fd(), &from).context("cannot ping from that address")?;
    for seq in 0..TRIES {
        let echo = IcmpEchoHeader { id: IDENTIFIER, seq };
        let request = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &[]).to_bytes();
        // Nobody may answer for the address yet: that is an answer, too.
        if sendto(raw.as_raw_fd(), &request, &to, MsgFlags::empty()).is_ok()
            && is_answered(raw.as_raw_fd(), echo)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an answer to `echo` comes in time.
fn is_answered(raw: i32, echo: IcmpEchoHeader) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 256];
    while Instant::now() < deadline {
        match recv(raw, &mut packet, MsgFlags::empty()) {
            Ok(len) if packet.get(..len).and_then(answered) == Some(echo) => return Ok(true),
            Ok(_) | Err(Errno::EINTR | Errno::EHOSTUNREACH) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            Err(error) => return Err(error).context("cannot receive an answer"),
        }
    }
    Ok(false)
}

/// What an IPv4 packet answers, if anything.
fn answered(packet: &[u8]) -> Option<IcmpEchoHeader> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let message = Icmpv4Slice::from_slice(packet.get(header.slice().len()..)?).ok()?;
    match message.icmp_type() {
        Icmpv4Type::EchoReply(echo) => Some(echo),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_echo_reply_is_an_answer() {
        let echo = IcmpEchoHeader { id: IDENTIFIER, seq: 1 };
        let packet = |kind| {
            let header: &[u8] = &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 98, 0, 2, 10, 98, 0, 1];
            [header, &Icmpv4Header::with_checksum(kind, &[]).to_bytes()].concat()
        };
        assert_eq!(answered(&packet(Icmpv4Type::EchoReply(echo))), Some(echo));
        assert_eq!(answered(&packet(Icmpv4Type::EchoRequest(echo))), None);
        for len in 0..28 {
            assert_eq!(answered(&packet(Icmpv4Type::EchoReply(echo))[..len]), None, "{len}");
        }
    }
}
