//! Large frames cross the hairpin as they are, and count as what they would be on a wire.

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
};

use macvlan_common::{
    child::Mode,
    counters::{Count, FloodOrigin, Path},
};
use macvlan_tests::{
    attached::Attached,
    fail::{OrFail as _, PATIENCE, wait_for},
    frames::{ETH_HLEN, IPV4},
    lab::{Family, Lab, Station},
    needs, require,
    sniff::{Kind, Seen, Tap},
    talk::{udp_echo, udp_socket},
};

const DEMULTIPLEXERS: [&[&str]; 3] = [&[], &["--xdp", "native"], &["--xdp", "generic"]];

/// Bytes before the payload of a datagram: Ethernet, IPv4, UDP.
const UDP_HEADERS: usize = ETH_HLEN + 20 + 8;
/// Bytes before the payload of a segment: Ethernet, IPv4, TCP with timestamps.
const TCP_HEADERS: u64 = ETH_HLEN as u64 + 20 + 32;
/// What the first segment has more: the options that only a connection's start carries.
const SYN_OPTIONS: u64 = 8;

/// The group that every host is in, and of which it makes no reports (RFC 3376, 5).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const SEGMENTS: usize = 4;
const SEGMENT: usize = 500;

#[test]
fn tcp_crosses_the_hairpin_unsegmented_and_counts_every_segment() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        for mode in [Mode::Bridge, Mode::Private] {
            let lab = Lab::new();
            let child = lab.child("c1", mode);
            lab.introduce(&[&lab.host, &child]);
            for station in [&lab.host, &child] {
                // Then all segments but the first have the same headers.
                station.ns.sysctl("ipv4/tcp_sack", 0);
            }
            let attached = Attached::new(&lab, args);
            for (from, to) in [(&lab.host, &child), (&child, &lab.host)] {
                let before = attached.stats();
                let mut receiver = Tap::on_device(&to.ns, &to.dev);

                let (client, server) = transfer(from, to, 4 << 20);

                let (to_child, from_child) =
                    if from.mac == child.mac { (&server, &client) } else { (&client, &server) };
                wait_for("every segment to be counted", || {
                    let gained = &attached.stats() - &before;
                    let counted = (gained.rx("c1", Path::Host), gained.tx("c1", Path::Host));
                    (counted == (sent(to_child), sent(from_child))).then_some(())
                });
                let largest = receiver.seen().iter().map(incoming_len).max();
                assert!(largest > Some(ETH_HLEN + 1500), "{args:?} {mode:?}: {largest:?}");
            }
        }
    }
}

#[test]
fn a_segmented_datagram_crosses_whole_and_counts_as_its_segments() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        for mode in [Mode::Bridge, Mode::Private] {
            let lab = Lab::new();
            let child = lab.child("c1", mode);
            lab.introduce(&[&lab.host, &child]);
            let attached = Attached::new(&lab, args);
            for (from, to) in [(&lab.host, &child), (&child, &lab.host)] {
                let mut receiver = Tap::on_device(&to.ns, &to.dev);
                let inbox = udp_socket(&to.ns, to.ip.into());
                let before = attached.stats();

                send_segmented(from, SocketAddrV4::new(to.ip, port(&inbox)));

                assert_eq!(datagrams(&inbox), [SEGMENT; SEGMENTS], "{args:?} {mode:?}");
                let lengths: Vec<_> =
                    receiver.seen().iter().map(incoming_len).filter(|len| *len > 0).collect();
                assert_eq!(lengths, [UDP_HEADERS + SEGMENTS * SEGMENT], "{args:?} {mode:?}");
                let way = if from.mac == child.mac { "tx" } else { "rx" };
                let gained = (&attached.stats() - &before).all();
                assert_eq!(gained, [("c1".to_owned(), Path::Host.as_str(), way, segmented())], "{args:?}");
            }
        }
    }
}

#[test]
fn a_segmented_multicast_is_copied_whole() {
    needs!(require::lab, require::binary);
    for args in DEMULTIPLEXERS {
        let lab = Lab::new();
        let children = [lab.child("b1", Mode::Bridge), lab.child("p1", Mode::Private)];
        let everybody = [&lab.host, &lab.wire, &children[0], &children[1]];
        for station in everybody {
            station.ns.ip(&format!("route add {GROUP} dev {}", station.dev));
        }
        let attached = Attached::new(&lab, args);
        // Who hears whom, by place in `everybody`.
        let rows = [
            (0, &[1, 2, 3][..], FloodOrigin::Host),
            (2, &[0, 1], FloodOrigin::Child),
            (3, &[0, 1], FloodOrigin::Child),
        ];
        for (from, to, origin) in rows {
            let inboxes = members(to.iter().map(|to| everybody[*to]));
            let mut stack = Tap::on_protocol(&lab.host.ns, &lab.host.dev, IPV4);
            let before = attached.stats();

            for inbox in &inboxes {
                send_segmented(everybody[from], SocketAddrV4::new(GROUP, port(inbox)));
            }

            for inbox in &inboxes {
                assert_eq!(datagrams(inbox), [SEGMENT; SEGMENTS], "{args:?}: {}", everybody[from].dev);
            }
            let times = inboxes.len() as u64;
            let sent = Count { packets: times * segmented().packets, bytes: times * segmented().bytes };
            let gained = &attached.stats() - &before;
            assert_eq!(gained.flood(origin), sent, "{args:?}: {}", everybody[from].dev);
            let host_heard = stack.seen().iter().filter(|seen| seen.kind == Kind::Multicast).count() as u64;
            assert_eq!(host_heard, if from == 0 { 0 } else { times }, "{args:?}: {}", everybody[from].dev);
        }
    }
}

#[test]
fn jumbo_frames_cross_the_hairpin() {
    needs!(require::lab, require::binary);
    const DATAGRAMS: usize = 5;
    const PAYLOAD: usize = 9000 - 28;
    for args in DEMULTIPLEXERS {
        let lab = Lab::with().mtu(9000).build();
        let (one, other) = (lab.child("b1", Mode::Bridge), lab.child("b2", Mode::Bridge));
        lab.introduce(&[&lab.host, &lab.wire, &one, &other]);
        let attached = Attached::new(&lab, args);
        let rows = [(&lab.host, Path::Host), (&other, Path::Sibling), (&lab.wire, Path::Wire)];
        for (from, path) in rows {
            let before = attached.stats();

            assert_eq!(udp_echo(from, &one, Family::V4, DATAGRAMS, PAYLOAD), DATAGRAMS, "{args:?} {path:?}");

            let gained = &attached.stats() - &before;
            let sent =
                Count { packets: DATAGRAMS as u64, bytes: (DATAGRAMS * (UDP_HEADERS + PAYLOAD)) as u64 };
            assert_eq!((gained.rx("b1", path), gained.tx("b1", path)), (sent, sent), "{args:?} {path:?}");
        }
    }
}

/// One end of a TCP connection.
struct End {
    stream: TcpStream,
    /// Segments that the kernel does not count as sent by this end's socket: the answer to the
    /// first one is another's, before there is a connection.
    uncounted: u64,
}

/// Moves `len` bytes to the other side and leaves the connection open.
#[track_caller]
fn transfer(from: &Station, to: &Station, len: usize) -> (End, End) {
    let listener = to.ns.enter(|| TcpListener::bind((to.ip, 0))).or_fail("listen");
    let address = listener.local_addr().or_fail("read a socket's address");
    let client = from.ns.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).or_fail("connect");
    let (server, _) = listener.accept().or_fail("accept");
    server.set_read_timeout(Some(PATIENCE)).or_fail("set a timeout");
    let data = vec![0x5a; len];
    thread::scope(|scope| {
        let reader = scope.spawn(|| (&server).read_exact(&mut vec![0; len]));
        (&client).write_all(&data).or_fail("send over TCP");
        reader.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)).or_fail("receive over TCP");
    });
    (End { stream: client, uncounted: 0 }, End { stream: server, uncounted: 1 })
}

/// What an end has sent so far, as it is on a wire.
#[track_caller]
fn sent(end: &End) -> Count {
    // `struct tcp_info` of `include/uapi/linux/tcp.h`, as bytes: the libc crate knows less of it.
    const SEGS_OUT: usize = 136;
    const BYTES_SENT: usize = 200;
    let mut info = [0_u8; 208];
    let mut len = info.len() as u32;
    // SAFETY: the pointers are to a live buffer and to its length.
    let done = unsafe {
        libc::getsockopt(
            end.stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert!(done == 0 && len as usize == info.len(), "cannot read TCP_INFO: {}", io::Error::last_os_error());
    let segments = u32::from_ne_bytes(info[SEGS_OUT..][..4].try_into().or_fail("read segments"));
    let payload = u64::from_ne_bytes(info[BYTES_SENT..][..8].try_into().or_fail("read bytes"));
    let packets = u64::from(segments) + end.uncounted;
    Count { packets, bytes: payload + packets * TCP_HEADERS + SYN_OPTIONS }
}

/// Sends [`SEGMENTS`] datagrams in one go (`UDP_SEGMENT`).
#[track_caller]
fn send_segmented(from: &Station, to: SocketAddrV4) {
    let socket = udp_socket(&from.ns, from.ip.into());
    let len = SEGMENT as libc::c_int;
    // SAFETY: the pointer is to a live integer of that length.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const len).cast(),
            size_of_val(&len) as u32,
        )
    };
    socket.set_multicast_loop_v4(false).or_fail("send multicast to others only");
    assert!(done == 0, "cannot set UDP_SEGMENT: {}", io::Error::last_os_error());
    socket.send_to(&[0; SEGMENTS * SEGMENT], to).or_fail("send segmented datagrams");
}

/// What [`send_segmented`] sends, as it is on a wire.
fn segmented() -> Count {
    Count { packets: SEGMENTS as u64, bytes: (SEGMENTS * (UDP_HEADERS + SEGMENT)) as u64 }
}

/// A socket in the group for each, at different ports: what is sent to one is for that one.
#[track_caller]
fn members<'a>(stations: impl Iterator<Item = &'a Station> + Clone) -> Vec<UdpSocket> {
    loop {
        let inboxes: Vec<_> = stations.clone().map(member).collect();
        let ports: BTreeSet<u16> = inboxes.iter().map(port).collect();
        if ports.len() == inboxes.len() {
            return inboxes;
        }
    }
}

/// A socket in the group.
#[track_caller]
fn member(station: &Station) -> UdpSocket {
    let socket = udp_socket(&station.ns, GROUP.into());
    socket.join_multicast_v4(&GROUP, &station.ip).or_fail("join a group");
    socket
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().or_fail("read a socket's address").port()
}

/// The lengths of the next [`SEGMENTS`] datagrams; asserts that there is no further one.
#[track_caller]
fn datagrams(inbox: &UdpSocket) -> Vec<usize> {
    let mut buffer = [0; 1 << 16];
    let lengths = (0..SEGMENTS).map(|_| inbox.recv(&mut buffer).or_fail("receive a datagram")).collect();
    inbox.set_nonblocking(true).or_fail("stop waiting");
    assert!(inbox.recv(&mut buffer).is_err(), "more arrived than was sent");
    lengths
}

/// Bytes of a frame that came in; 0 of one that left.
fn incoming_len(seen: &Seen) -> usize {
    if seen.kind == Kind::Outgoing { 0 } else { seen.data.len() }
}
