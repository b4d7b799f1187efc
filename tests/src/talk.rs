//! Stations talking to each other as programs do: ping, UDP, TCP.

use std::{
    io::{self, Read as _, Write as _},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use crate::{
    fail::{OrFail as _, patience},
    frames::checksum,
    lab::Station,
    netns::Netns,
    rng::Rng,
};

/// How long to wait for an answer that must not come.
pub const BRIEF: Duration = Duration::from_millis(300);

/// Whether `to` answers an echo request, asking again as `ping` does.
pub fn ping(from: &Station, to: IpAddr) -> bool {
    echo(&from.ns, to, patience())
}

/// Whether `to` answers an echo request by then, asking again as `ping` does.
pub fn ping_within(from: &Station, to: IpAddr, patience: Duration) -> bool {
    echo(&from.ns, to, patience)
}

/// Whether `to` leaves a few echo requests unanswered.
pub fn is_silent(from: &Station, to: IpAddr) -> bool {
    !echo(&from.ns, to, BRIEF)
}

/// Sends echo requests until one is answered or `patience` runs out.
fn echo(ns: &Netns, to: IpAddr, patience: Duration) -> bool {
    const BETWEEN: Duration = Duration::from_millis(100);
    let socket = icmp_socket(ns, to);
    let start = Instant::now();
    let mut sequence = 0_u16;
    while start.elapsed() < patience {
        sequence += 1;
        let identifier = socket.as_raw_fd() as u16;
        // An unresolved neighbour makes the kernel refuse later requests: that is no answer.
        let _ = send_to(&socket, to, &echo_request(to, identifier, sequence));
        let asked = Instant::now();
        while asked.elapsed() < BETWEEN {
            if is_readable(&socket, BETWEEN) && receive_reply(&socket, to, identifier) {
                return true;
            }
        }
    }
    false
}

/// Sends `count` datagrams of `len` octets of payload there and back; gives back how many returned.
#[track_caller]
pub fn udp_echo(from: &Station, to: &Station, family: crate::lab::Family, count: usize, len: usize) -> usize {
    let server = udp_socket(&to.ns, to.address(family));
    let client = udp_socket(&from.ns, from.address(family));
    let server_address = server.local_addr().or_fail("read a socket's address");
    let mut buffer = [0; 1 << 16];
    let mut returned = 0;
    for number in 0..count {
        let mut payload = vec![0; len];
        payload[..2].copy_from_slice(&(number as u16).to_be_bytes());
        client.send_to(&payload, server_address).or_fail("send a datagram");
        let Ok((received, sender)) = server.recv_from(&mut buffer) else { continue };
        server.send_to(&buffer[..received], sender).or_fail("answer a datagram");
        if matches!(client.recv(&mut buffer), Ok(received) if buffer[..received] == payload) {
            returned += 1;
        }
    }
    returned
}

/// A UDP socket on this address, any port, that waits for a datagram as long as [`patience`].
#[track_caller]
pub fn udp_socket(ns: &Netns, address: IpAddr) -> UdpSocket {
    let socket =
        ns.enter(|| UdpSocket::bind((address, 0))).or_fail(format!("open a UDP socket on {address}"));
    socket.set_read_timeout(Some(patience())).or_fail("set a timeout");
    socket
}

/// Moves `len` random octets over TCP and checks that they arrive as they were.
#[track_caller]
pub fn tcp_transfer(from: &Station, to: &Station, family: crate::lab::Family, len: usize) {
    let address = to.address(family);
    let listener = to.ns.enter(|| TcpListener::bind((address, 0))).or_fail("listen");
    let server_address = listener.local_addr().or_fail("read a socket's address");
    let data = Rng::new(len as u64).bytes(len);
    let received = thread::scope(|scope| {
        let server = scope.spawn(move || {
            let stream = accept(&listener)?;
            stream.set_read_timeout(Some(patience()))?;
            let mut received = Vec::with_capacity(len);
            (&stream).read_to_end(&mut received)?;
            io::Result::Ok(received)
        });
        let mut client =
            from.ns.enter(|| connect(server_address)).or_fail(format!("connect to {server_address}"));
        client.set_write_timeout(Some(patience())).or_fail("set a timeout");
        client.write_all(&data).or_fail("send over TCP");
        client.shutdown(Shutdown::Write).or_fail("end the transfer");
        server.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)).or_fail("receive over TCP")
    });
    assert!(received == data, "{} octets of {len} arrived, or others than were sent", received.len());
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, patience())
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    if !is_readable(listener, patience()) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    listener.accept().map(|(stream, _)| stream)
}

const ICMP_ECHO: u8 = 8;
const ICMPV6_ECHO: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

fn echo_request(to: IpAddr, identifier: u16, sequence: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { ICMP_ECHO } else { ICMPV6_ECHO };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(b"macvlan tests");
    if to.is_ipv4() {
        // For IPv6 the kernel does it: the addresses are part of the sum.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Whether the next message is the answer to one of ours.
fn receive_reply(socket: &OwnedFd, from: IpAddr, identifier: u16) -> bool {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    let len = buffer.len();
    // SAFETY: the pointer and the length are those of a live buffer.
    let received =
        unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), len, libc::MSG_DONTWAIT) };
    let Ok(received) = usize::try_from(received) else { return false };
    // SAFETY: the kernel wrote that many octets.
    let data = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), received) };
    // IPv4 gives the IP header as well.
    let (message, reply) = if from.is_ipv4() {
        let Some(first) = data.first() else { return false };
        (data.get(usize::from(first & 0xf) * 4..).unwrap_or_default(), 0)
    } else {
        (data, ICMPV6_ECHO_REPLY)
    };
    let [kind, _, _, _, high, low, ..] = message else { return false };
    *kind == reply && u16::from_be_bytes([*high, *low]) == identifier
}

fn icmp_socket(ns: &Netns, to: IpAddr) -> OwnedFd {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // SAFETY: takes and gives back integers.
    let fd = ns.enter(|| unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) });
    assert!(fd >= 0, "cannot open an ICMP socket: {}", io::Error::last_os_error());
    // SAFETY: a descriptor just opened, which nobody else has.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn send_to(socket: &OwnedFd, to: IpAddr, message: &[u8]) -> io::Result<()> {
    let sent = match to {
        IpAddr::V4(ip) => send_to_address(socket, &ipv4_address(ip), message),
        IpAddr::V6(ip) => send_to_address(socket, &ipv6_address(ip), message),
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn send_to_address<T>(socket: &OwnedFd, address: &T, message: &[u8]) -> isize {
    let address_len = size_of::<T>() as u32;
    // SAFETY: both pointers are to live memory of the lengths given; `T` is a socket address.
    unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
            std::ptr::from_ref(address).cast(),
            address_len,
        )
    }
}

fn ipv4_address(ip: Ipv4Addr) -> libc::sockaddr_in {
    // SAFETY: all-zero is a valid `sockaddr_in`.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
    address
}

fn ipv6_address(ip: Ipv6Addr) -> libc::sockaddr_in6 {
    // SAFETY: all-zero is a valid `sockaddr_in6`.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_addr.s6_addr = ip.octets();
    address
}

/// Whether there is something to read within `patience`.
fn is_readable(socket: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).or_fail("wait that long");
    poll(&mut sockets, timeout).is_ok_and(|ready| ready > 0)
}
