//! A virtual machine: its frames go through the file of a macvtap child, and the host knows none of its addresses.

use std::net::Ipv4Addr;

use macvlan_common::child::Mode;
use macvlan_tests::{
    fail::OrFail as _,
    frames::{ARP, IPV4, PORT, Party, arp_request, datagram},
    lab::Lab,
    needs, require,
    sniff::{Kind, Tap},
    talk::udp_socket,
    tap::TapFile,
};

use crate::scene::{attach, port};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);

#[test]
fn a_virtual_machine_sends_and_receives_by_a_macvtap() {
    needs!(require::lab, require::tcx);
    let lab = Lab::new();
    let child = lab.macvtap("vm", Mode::Bridge);
    let _port = port(&lab);
    let _attached = attach(&lab, &[]);
    let mut wire = Tap::on_device(&lab.wire.ns, &lab.port);
    let mut machine = TapFile::open(&lab, &child);
    let own = Party { mac: child.mac, address: ADDRESS };
    let is = |frame: &[u8], kind: u16| frame.get(12..14) == Some(&kind.to_be_bytes()[..]);

    machine.send(&arp_request(own, lab.wire.ip));
    let answer = machine.wait_for("the answer to ARP", |frame| {
        is(frame, ARP) && frame.get(28..32) == Some(&lab.wire.ip.octets()[..])
    });
    let mac = child.mac.octets();
    assert_eq!((&answer[..6], &answer[32..38]), (&mac[..], &mac[..]), "to whom, and to whom it says");

    let listener = lab.wire.ns.enter(|| std::net::UdpSocket::bind((lab.wire.ip, PORT)));
    let listener = listener.or_fail("open a socket");
    listener.set_read_timeout(Some(macvlan_tests::fail::PATIENCE)).or_fail("set a timeout");
    let peer = Party { mac: lab.wire.mac, address: lab.wire.ip };
    machine.send(&datagram(own, peer).or_fail("make a datagram"));
    let (_, from) = listener.recv_from(&mut [0; 64]).or_fail("hear the machine");
    assert_eq!(from.ip(), ADDRESS);

    let sender = udp_socket(&lab.wire.ns, lab.wire.ip.into());
    sender.send_to(b"to the machine", (ADDRESS, PORT)).or_fail("send to the machine");
    let came = machine.wait_for("a datagram of the wire", |frame| {
        is(frame, IPV4) && frame.windows(14).any(|bytes| bytes == b"to the machine")
    });
    assert_eq!((&came[..6], &came[30..34]), (&mac[..], &ADDRESS.octets()[..]));
    for seen in wire.take().into_iter().filter(|seen| seen.kind != Kind::Outgoing) {
        assert_eq!(seen.data[6..12], lab.host.mac.octets(), "{:02x?}", seen.data);
    }
}
