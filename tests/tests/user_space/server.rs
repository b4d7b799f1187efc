//! How the server starts, and what is left when it ends.

use std::path::Path;

use macvlan_tests::{
    cli,
    fail::wait_for,
    lab::Lab,
    needs,
    port::Port,
    require,
    xsk_server::{SOCKET, command, serve},
};
use nix::sys::signal::Signal;

use crate::{client::Client, echo};

fn has_program(port: &Port) -> bool {
    port.station.ns.ip_json("link show dev eth0")[0].get("xdp").is_some()
}

fn has_socket(lab: &Lab) -> bool {
    lab.mounts().enter(|| Path::new(SOCKET).exists())
}

#[test]
fn nothing_stays_when_it_ends() {
    needs!(require::lab, require::binary, require::setpriv);
    let lab = Lab::new();
    let port = Port::new(&lab);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = serve(&lab, &port);
        assert!(has_program(&port));
        server.signal(signal);
        wait_for("the server to end", || (!has_socket(&lab)).then_some(()));
        wait_for("the program to go", || (!has_program(&port)).then_some(()));
    }
    // Killed, it cannot remove its socket: the next one replaces it, and serves.
    let server = serve(&lab, &port);
    let client = Client::new(&lab);
    let held = client.ask("/xsk,0");
    drop(server);
    wait_for("the program to go", || (!has_program(&port)).then_some(()));
    assert!(has_socket(&lab) && client.is_hung_up_on());
    drop(held);
    let _server = serve(&lab, &port);
    drop(echo::start(&lab, &port));
}

#[test]
fn what_stands_in_the_way_is_named() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let refusal = |line: &[&str]| {
        let ran = cli::output(lab.command(&port.station.ns, cli::binary()).args(line));
        ran.failed(1).to_owned()
    };
    assert_eq!(refusal(&["xsk", "serve", "eth9", SOCKET]), "macvlan-ctl: no device \"eth9\"; see: ip link");
    let taken = refusal(&["xsk", "serve", "eth0", "/run"]);
    assert_eq!(taken, "macvlan-ctl: cannot listen at \"/run\": there is a file that is no socket");
    assert!(!has_program(&port), "it was taken off again");
    let server = serve(&lab, &port);
    let busy = refusal(&["xsk", "serve", "eth0", "/run/other.sock"]);
    let cannot = "macvlan-ctl: cannot put a program on \"eth0\":";
    assert_eq!(busy, format!("{cannot} another XDP program is on it; see: ip link"));
    drop(server);
    // Older kernels allow no such MTU to a veth whose other end has a program.
    lab.ctl(&["attach", "eth0", "--xdp", "off"]).succeeded();
    lab.wire.ns.ip(&format!("link set {} mtu 9000", lab.port));
    lab.host.ns.ip("link set eth0 mtu 9000");
    lab.ctl(&["child", "set", "eth0", "eth0,mtu=9000"]).succeeded();
    let large = refusal(&["xsk", "serve", "eth0", "/run/other.sock"]);
    assert_eq!(large, format!("{cannot} its frames are too large for XDP; set a smaller MTU at both ends"));
}

#[test]
fn it_ends_with_its_device() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let mut serving = command(&lab, &port);
    let running = std::thread::scope(|scope| {
        let server = scope.spawn(move || cli::output(&mut serving));
        wait_for("the server to listen", || has_socket(&lab).then_some(()));
        port.station.ns.ip("link del eth0");
        server.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    });
    assert_eq!(running.failed(1), "macvlan-ctl: device \"eth0\" is gone");
    assert!(!has_socket(&lab));
}
