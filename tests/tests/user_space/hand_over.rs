//! What is handed over, byte by byte.

use std::os::fd::{AsFd as _, AsRawFd as _};

use macvlan_tests::{fail::OrFail as _, lab::Lab, needs, port::Port, require, xsk_server::serve};
use nix::{errno::Errno, sys::stat::fstat, unistd::ftruncate};

use crate::client::Client;

#[test]
fn the_message_is_as_documented() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    let answer = Client::new(&lab).ask("/xsk,0");
    let numbers: [u32; 5] = [0, 4096, 4096, 1500, 0];
    let numbers = numbers.map(u32::to_ne_bytes).concat();
    let expected = [b"xsk1".as_slice(), &numbers, &port.station.mac.octets(), &[0; 2]].concat();
    assert_eq!(answer.message, expected, "{}", answer.text());

    let [socket, memory] = answer.descriptors.as_slice() else { panic!("{answer:?}") };
    let size = fstat(memory).or_fail("look at the memory").st_size;
    assert_eq!(size, 4096 * 4096);
    // Nobody can take pages from under the socket.
    assert_eq!(ftruncate(memory.as_fd(), 0), Err(Errno::EPERM));
    // Never an unbound one: it could be bound to what nobody offered.
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: 1,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live address.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!((bound, Errno::last()), (-1, Errno::EBUSY));
}

#[test]
fn a_refusal_says_why() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    let first = Client::new(&lab);
    let holder = first.ask("/xsk,0");
    assert_eq!(holder.descriptors.len(), 2, "{}", holder.text());
    let second = Client::new(&lab);
    let busy = "/xsk_nak,queue 0 of eth0 has a socket: end the program that holds it";
    assert_eq!(second.ask("/xsk,0").text(), busy);
    assert_eq!(first.ask("/xsk,0").text(), busy);
    for queue in ["1000", "4294967295"] {
        let refusal = second.ask(&format!("/xsk,{queue}"));
        assert_eq!(refusal.text(), format!("/xsk_nak,eth0 has no queue {queue}"));
        assert!(refusal.descriptors.is_empty());
    }
    // It is the socket that counts, not the connection.
    drop(first);
    assert_eq!(second.ask("/xsk,0").text(), busy);
    drop(holder);
    assert_eq!(second.ask("/xsk,0").descriptors.len(), 2);
}
