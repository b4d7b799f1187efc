//! The example, without privileges, on a socket that was handed over.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
};

use macvlan_tests::{
    cli,
    daemon::Daemon,
    fail::{OrFail as _, PATIENCE},
    lab::Lab,
    needs,
    port::Port,
    require,
    talk::{is_silent, ping},
    xsk_server::{SOCKET, STRANGER, USER, serve, unprivileged},
};
use nix::sys::signal::Signal;

/// The example, built.
const ECHO: &str = env!("CARGO_BIN_EXE_xsk-echo");

/// The example as this user.
fn command(lab: &Lab, port: &Port, user: u32) -> Command {
    let mut command = unprivileged(lab, &port.station, user, Path::new(ECHO));
    command.args([SOCKET, &port.station.ip.to_string()]);
    command
}

/// The example as the user that is served, once it answers.
#[track_caller]
pub fn start(lab: &Lab, port: &Port) -> Daemon {
    let echo = Daemon::start(command(lab, port, USER).stdout(Stdio::null()).stderr(Stdio::null()));
    assert!(ping(port.peer, port.station.ip.into()), "no answer");
    echo
}

#[test]
fn a_program_without_privileges_answers() {
    needs!(require::lab, require::binary, require::setpriv);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    assert!(is_silent(port.peer, port.station.ip.into()), "the device has no address");
    let _echo = start(&lab, &port);
    let client = port.peer.ns.enter(|| UdpSocket::bind((port.peer.ip, 0))).or_fail("open a socket");
    client.set_read_timeout(Some(PATIENCE)).or_fail("set a time limit");
    // More than all rings have, so that every frame is used again.
    for number in 0..10_000_u32 {
        let payload = number.to_be_bytes();
        client.send_to(&payload, SocketAddr::new(port.station.ip.into(), 7)).or_fail("send");
        let mut buffer = [0; 16];
        let len = client.recv(&mut buffer).or_fail("receive");
        assert_eq!(buffer[..len], payload);
    }
}

#[test]
fn a_queue_is_free_again_once_its_program_ends_and_no_sooner() {
    needs!(require::lab, require::binary, require::setpriv);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    for _ in 0..3 {
        let echo = start(&lab, &port);
        let second = cli::output(&mut command(&lab, &port, USER));
        let reason = second.failed(1);
        assert!(
            reason.contains("/xsk_nak,queue 0 of eth0 has a socket: end the program that holds it"),
            "{reason}"
        );
        assert!(ping(port.peer, port.station.ip.into()), "the first is not disturbed");
        echo.signal(Signal::SIGKILL);
    }
}

#[test]
fn another_user_is_not_served() {
    needs!(require::lab, require::binary, require::setpriv);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let _server = serve(&lab, &port);
    cli::output(&mut command(&lab, &port, STRANGER)).failed(1);
    drop(start(&lab, &port));
}
