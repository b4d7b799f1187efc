//! What a client asks, and what it gets.

use std::{io, os::fd::AsFd as _, time::Duration};

use tokio::time::timeout;

use crate::xsk::{
    handover,
    port::{Given, Port},
    request::{LONGEST, Request},
    seqpacket::Client,
};

/// How long a client that has no socket yet may think. One that has may stay: it sees by the connection that the server
/// is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a client until it goes.
pub async fn converse(client: &Client, port: &Port) {
    let mut buffer = [0; LONGEST];
    let mut has_socket = false;
    loop {
        let received = client.receive(&mut buffer);
        let message = match has_socket {
            true => received.await,
            false => timeout(PATIENCE, received).await.ok().flatten(),
        };
        let Some(message) = message else { return };
        // The answer to the last request, or one that does not get through, ends it.
        let go_on = match Request::parse(message) {
            Some(Request::Socket(queue)) => {
                let given = give_socket(client, port, queue).await;
                has_socket |= matches!(given, Ok(true));
                given.map(|_| true)
            }
            Some(request) => answer(client, port, request),
            None => client.send(b"/nak", &[]).map(|()| true),
        };
        if !matches!(go_on, Ok(true)) {
            return;
        }
    }
}

/// Answers the device plugin's requests; whether more may follow.
fn answer(client: &Client, port: &Port, request: Request<'_>) -> io::Result<bool> {
    match request {
        Request::Map(device) if device == port.device.as_str() => {
            client.send(b"/fd_ack", &[port.redirect.as_fd()])?;
            (port.tell)(Given { queue: None, process: client.process, user: client.user });
        }
        Request::Map(_) => client.send(b"/fd_nak", &[])?,
        Request::Connect => client.send(b"/host_ok", &[])?,
        Request::Version => client.send(b"0.1", &[])?,
        // It would mean to set what takes privileges on a socket of the client's.
        Request::BusyPoll => client.send(b"/config_busy_poll_nak", &[])?,
        Request::End | Request::Socket(_) => {
            client.send(b"/fin_ack", &[])?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Hands over a socket of this queue, or says why not; whether it did.
async fn give_socket(client: &Client, port: &Port, queue: u32) -> io::Result<bool> {
    match port.open(queue).await {
        Ok(ready) => {
            let message = handover::message(queue, port.frames, &ready);
            client.send(&message, &[ready.bound.socket.as_fd(), ready.bound.umem.as_fd()])?;
            (port.tell)(Given { queue: Some(queue), process: client.process, user: client.user });
            Ok(true)
        }
        Err(error) => {
            client.send(format!("/xsk_nak,{error:#}").as_bytes(), &[])?;
            Ok(false)
        }
    }
}
