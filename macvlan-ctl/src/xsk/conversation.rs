//! What a client asks, and what it gets.

use std::{os::fd::AsFd as _, sync::PoisonError, time::Duration};

use nix::errno::Errno;

use crate::xsk::{
    client::Client,
    handover,
    port::Port,
    request::{LONGEST, Request},
};

/// How long a client that has no socket yet may think.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a client until it goes, or leaves an answer that does not get through.
pub fn converse(client: &Client, port: &Port) {
    let mut buffer = [0; LONGEST];
    let mut answered = client.wait(PATIENCE);
    while answered.is_ok()
        && let Some(message) = client.receive(&mut buffer)
    {
        answered = match Request::parse(message) {
            Some(Request::Socket(queue)) => give_socket(client, port, queue),
            Some(Request::Map(device)) if device == port.device.as_str() => {
                client.send(b"/fd_ack", &[port.redirect.as_fd()])
            }
            Some(Request::Map(_)) => client.send(b"/fd_nak", &[]),
            Some(Request::Connect) => client.send(b"/host_ok", &[]),
            Some(Request::Version) => client.send(b"0.1", &[]),
            // It would mean to set what takes privileges on a socket of the client's.
            Some(Request::BusyPoll) => client.send(b"/config_busy_poll_nak", &[]),
            Some(Request::End) => {
                // It goes, whether it hears this or not.
                let _ = client.send(b"/fin_ack", &[]);
                return;
            }
            None => client.send(b"/nak", &[]),
        };
    }
}

/// Hands over a socket of this queue, or says why not.
fn give_socket(client: &Client, port: &Port, queue: u32) -> Result<(), Errno> {
    match port.open(queue) {
        Ok(bound) => {
            let link = port.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let message = handover::message(queue, port.frames, bound.is_zero_copy, &link);
            client.send(&message, &[bound.socket.as_fd(), bound.umem.as_fd()])?;
            // It may stay as long as it likes: it sees by the connection that the server is there.
            client.wait(Duration::ZERO)
        }
        Err(error) => client.send(format!("/xsk_nak,{error:#}").as_bytes(), &[]),
    }
}
