//! Stations talking to each other as programs do: ping, UDP, TCP.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use macvlan_bench::lab::ping::is_answered;

use crate::{
    fail::{OrFail as _, patience},
    lab::Station,
    netns::Netns,
    rng::Rng,
};

/// How long to wait for an answer that must not come.
pub const BRIEF: Duration = Duration::from_millis(300);

/// Whether `to` answers an echo request, asked again as `ping` does.
#[track_caller]
pub fn ping(from: &Station, to: IpAddr) -> bool {
    ping_within(from, to, patience())
}

/// Whether `to` answers an echo request by then, asked again as `ping` does.
#[track_caller]
pub fn ping_within(from: &Station, to: IpAddr, patience: Duration) -> bool {
    is_answered(&from.ns, to, patience).or_fail("ping")
}

/// Whether two stations reach each other soon, asked by those who know nobody yet.
#[track_caller]
pub fn reach_each_other(one: &Station, other: &Station) -> bool {
    const SOON: Duration = Duration::from_secs(1);
    one.ns.ip("neigh flush all");
    other.ns.ip("neigh flush all");
    ping_within(one, other.ip.into(), SOON) && ping_within(other, one.ip.into(), SOON)
}

/// Whether `to` leaves a few echo requests unanswered.
#[track_caller]
pub fn is_silent(from: &Station, to: IpAddr) -> bool {
    !ping_within(from, to, BRIEF)
}

/// Sends `count` datagrams of `len` bytes of payload there and back; gives back how many returned.
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

/// Moves `len` random bytes over TCP and checks that they arrive as they were.
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
    assert!(received == data, "{} bytes of {len} arrived, or others than were sent", received.len());
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

/// Whether there is something to read within `patience`.
fn is_readable(socket: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).or_fail("wait that long");
    poll(&mut sockets, timeout).is_ok_and(|ready| ready > 0)
}
