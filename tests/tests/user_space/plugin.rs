//! The handshake of Intel's AF_XDP device plugin, version 0.1.

use std::{fs, os::fd::AsRawFd as _};

use macvlan_tests::{fail::OrFail as _, lab::Lab, needs, port::Port, require, xsk_server::serve};

use crate::client::Client;

#[test]
fn the_handshake_is_that_of_the_plugin() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    let client = Client::new(&lab);
    assert_eq!(client.ask("/connect,a-pod").text(), "/host_ok");
    assert_eq!(client.ask("/version").text(), "0.1");
    let other = client.ask("/xsk_map_fd,eth1");
    assert_eq!((other.text().as_str(), other.descriptors.len()), ("/fd_nak", 0));
    let answer = client.ask("/xsk_map_fd,eth0");
    assert_eq!((answer.text().as_str(), answer.descriptors.len()), ("/fd_ack", 1));
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", answer.descriptors[0].as_raw_fd()));
    let info = info.or_fail("look at the map");
    assert!(info.contains("map_type:\t17\n"), "it is no XSKMAP: {info}");
    assert_eq!(client.ask("/config_busy_poll,20,64").text(), "/config_busy_poll_nak");
    assert_eq!(client.ask("/anything").text(), "/nak");
    assert_eq!(client.ask("/fin").text(), "/fin_ack");
    assert!(client.is_hung_up_on());
}
