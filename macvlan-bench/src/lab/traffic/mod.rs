//! What stations do to each other: sockets as any program has them, each side on a processor of its
//! own, everything counted where it arrives.

pub(crate) mod connect;
pub mod stream;
pub mod turns;
pub mod udp;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use macvlan_core::kernel::netns::Netns;
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};

/// How long any single step may take before a measurement is given up.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes to send, each page of them written to: untouched memory is one page of zeros again and again
/// (`do_anonymous_page` in mm/memory.c), which the processor copies faster than what programs have to say.
pub fn payload(len: usize) -> Vec<u8> {
    vec![0xa5; len]
}

/// One end of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// Where its sockets are.
    pub netns: &'a Netns,
    /// The address they have.
    pub address: Ipv4Addr,
}

/// A connected pair of TCP sockets: the near end asked, the far end was asked.
///
/// # Errors
///
/// When the far end cannot be reached.
pub fn pair(near: Endpoint<'_>, far: Endpoint<'_>) -> Result<(TcpStream, TcpStream)> {
    let listener = listen(far)?;
    let asked = connect_to(near, listener.local_addr().context("cannot tell the port")?)?;
    // It is in the queue: the three-way handshake is over.
    let (answered, _) = listener.accept().context("cannot accept a connection")?;
    for stream in [&asked, &answered] {
        be_patient(stream)?;
    }
    Ok((asked, answered))
}

/// Whether one end reaches the other, and is answered.
///
/// # Errors
///
/// Why not.
pub fn answers(near: Endpoint<'_>, far: Endpoint<'_>) -> Result<()> {
    const SOON: Duration = Duration::from_millis(300);
    let listener = listen(far)?;
    let address = listener.local_addr().context("cannot tell the port")?;
    near.netns.run(|| TcpStream::connect_timeout(&address, SOON).map(drop).context("nobody answers"))
}

fn listen(far: Endpoint<'_>) -> Result<TcpListener> {
    let listener = far.netns.run(|| TcpListener::bind((far.address, 0)).context("cannot listen"))?;
    wait_patiently(&listener)?;
    Ok(listener)
}

/// Makes a listening socket give up after [`PATIENCE`] without a connection.
///
/// # Errors
///
/// The socket is closed.
pub fn wait_patiently(listener: &TcpListener) -> Result<()> {
    let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
    setsockopt(listener, ReceiveTimeout, &patience).context("cannot limit waiting")
}

fn connect_to(near: Endpoint<'_>, address: SocketAddr) -> Result<TcpStream> {
    near.netns.run(|| {
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("cannot connect to {address}"))
    })
}

/// Makes a socket give up after [`PATIENCE`].
///
/// # Errors
///
/// The socket is closed.
pub fn be_patient(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE)).context("cannot limit reading")?;
    stream.set_write_timeout(Some(PATIENCE)).context("cannot limit writing")
}

/// What a thread came to; its panic is an error like others.
pub(crate) fn joined<T>(worker: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    worker.join().unwrap_or_else(|_| Err(anyhow!("a measuring thread panicked")))
}

/// Whether a call was only interrupted, or waited in vain.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
