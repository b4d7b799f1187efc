//! DPDK's own program on a port: with a socket of its own, and by the device plugin's handshake.

use std::{fs, os::unix::fs::chown};

use macvlan_tests::{
    fail::{OrFail as _, wait_for},
    frames::{Marker, marked},
    lab::Lab,
    needs,
    port::Port,
    require,
    sniff::{Injector, Tap},
    talk::ping,
    testpmd::Testpmd,
    xsk_server::{SOCKET, USER, as_user, serve},
};

use crate::client::Client;

/// What DPDK needs to make sockets, and memory for them beyond the limit.
const CAPABILITIES: [&str; 3] = [
    "--inh-caps=+net_raw,+ipc_lock",
    "--ambient-caps=+net_raw,+ipc_lock",
    "--bounding-set=-all,+net_raw,+ipc_lock",
];

/// Where such a user's programs keep files.
const RUNTIME: &str = "/run/runtime";

#[test]
fn it_answers_on_a_socket_of_its_own() {
    needs!(require::lab, require::testpmd);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let mut command = lab.command(&port.station.ns, "dpdk-testpmd");
    let testpmd = Testpmd::start(&mut command, "iface=eth0", "icmpecho");
    testpmd.wait_for("icmpecho packet forwarding");
    assert!(ping(port.peer, port.station.ip.into()), "{}", testpmd.output());
}

#[test]
fn it_sends_back_what_it_gets() {
    needs!(require::lab, require::testpmd);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let mut command = lab.command(&port.station.ns, "dpdk-testpmd");
    let testpmd = Testpmd::start(&mut command, "iface=eth0", "macswap");
    testpmd.wait_for("macswap packet forwarding");
    let mut tap = Tap::on_device(&port.peer.ns, &port.peer.dev);
    let injector = Injector::new(&port.peer.ns, &port.peer.dev);
    // It throws away what came before it began.
    let first = Marker::new();
    wait_for("the first frame to come back", || {
        injector.send(&marked(port.station.mac, port.peer.mac, first));
        (tap.came_in(first) > 0).then_some(())
    });
    let marker = Marker::new();
    injector.send_times(&marked(port.station.mac, port.peer.mac, marker), 1_000);
    tap.wait_for(marker, 1_000);
}

#[test]
fn it_gets_the_map_of_sockets_by_the_plugins_handshake() {
    needs!(require::lab, require::binary, require::setpriv, require::testpmd);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    lab.mounts().enter(|| {
        fs::create_dir(RUNTIME).or_fail("make a directory");
        chown(RUNTIME, Some(USER), Some(USER)).or_fail("give it away");
    });
    let mut command = as_user(&lab, &port.station, USER, &CAPABILITIES);
    command.arg("dpdk-testpmd").env("XDG_RUNTIME_DIR", RUNTIME);
    let device = format!("iface=eth0,use_cni=1,dp_path={SOCKET}");
    let testpmd = Testpmd::start(&mut command, &device, "icmpecho");
    testpmd.wait_for("icmpecho packet forwarding");
    assert!(ping(port.peer, port.station.ip.into()), "{}", testpmd.output());
    // It has the queue: nobody else gets it meanwhile.
    let busy = "/xsk_nak,queue 0 of eth0 has a socket: end the program that holds it";
    assert_eq!(Client::new(&lab).ask("/xsk,0").text(), busy);
    drop(testpmd);
    assert_eq!(Client::new(&lab).ask("/xsk,0").descriptors.len(), 2);
}
