//! Clients that mean no good.

use std::{fs, os::fd::AsRawFd as _};

use macvlan_tests::{
    daemon::Daemon,
    fail::{OrFail as _, wait_for},
    lab::Lab,
    needs,
    port::Port,
    require,
    xsk_server::serve,
};

use crate::client::Client;

fn descriptors_of(server: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).or_fail("list descriptors").count()
}

#[test]
fn no_message_ends_the_server_or_leaves_anything_with_it() {
    needs!(require::lab, require::binary);
    let lab = Lab::new();
    let port = Port::new(&lab);
    let server = serve(&lab, &port);
    let first = Client::new(&lab);
    assert_eq!(first.ask("/version").text(), "0.1");
    let with_one = descriptors_of(&server);
    drop(first);
    for message in [&b"/nothing"[..], b"/xsk,", b"/xsk,-1", b"\0\0\0\0", b"/xsk,0\xff", &[b'/'; 256]] {
        let client = Client::new(&lab);
        client.send(message, &[]);
        assert_eq!(client.receive().text(), "/nak", "{message:?}");
    }
    for message in [vec![b'x'; 257], vec![b'/'; 100_000]] {
        let client = Client::new(&lab);
        client.send(&message, &[]);
        assert!(client.is_hung_up_on(), "{} bytes", message.len());
    }
    // Descriptors that nobody asked for.
    let client = Client::new(&lab);
    let file = fs::File::open("/dev/null").or_fail("open a file");
    client.send(b"/config_busy_poll,20,64", &[file.as_raw_fd(); 100]);
    assert_eq!(client.receive().text(), "/config_busy_poll_nak");
    drop(client);
    // Answers that nobody reads.
    let client = Client::new(&lab);
    for _ in 0..10_000 {
        client.send(b"/xsk_map_fd,eth0", &[]);
    }
    while !client.is_hung_up_on() {}
    drop(client);
    // More clients than there are seats.
    let clients: Vec<Client> = (0..64).map(|_| Client::new(&lab)).collect();
    for client in &clients {
        assert_eq!(client.ask("/version").text(), "0.1");
    }
    assert!(Client::new(&lab).is_hung_up_on());
    drop(clients);
    wait_for("the server to let go", || (descriptors_of(&server) < with_one).then_some(()));
    assert_eq!(Client::new(&lab).ask("/xsk,0").descriptors.len(), 2);
}
