//! UDP: one side sends datagrams as fast as it may, the other counts what arrives.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::lab::{
    cpu::{Cpus, Side},
    traffic::{Endpoint, is_timeout, joined, payload},
};

/// Bytes of the IPv4 and UDP headers.
pub const HEADERS: usize = 20 + 8;

/// How long nothing may arrive before all has.
const SETTLED: Duration = Duration::from_millis(20);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datagrams {
    /// Sent.
    pub sent: u64,
    /// Arrived at the receiver.
    pub arrived: u64,
    /// How long they were being sent.
    pub time: Duration,
}

impl Datagrams {
    /// Arrived, per second.
    pub fn rate(&self) -> f64 {
        self.arrived as f64 / self.time.as_secs_f64()
    }

    /// The share that was lost.
    pub fn lost(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.sent.saturating_sub(self.arrived) as f64 / self.sent as f64 }
    }
}

/// Sends IP packets of so many bytes for so long.
///
/// # Errors
///
/// A socket cannot be opened, or the other end is unreachable.
pub fn datagrams(
    cpus: &Cpus,
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    packet: usize,
    time: Duration,
) -> Result<Datagrams> {
    let receiver = to.netns.run(|| UdpSocket::bind((to.address, 0)).context("cannot receive datagrams"))?;
    let address = receiver.local_addr().context("cannot tell the port")?;
    let sender = from.netns.run(|| {
        let sender = UdpSocket::bind((from.address, 0)).context("cannot send datagrams")?;
        sender.connect(address).context("cannot send datagrams")?;
        Ok(sender)
    })?;
    let over = AtomicBool::new(false);
    let over = &over;
    thread::scope(|scope| {
        let counting = scope.spawn(move || {
            cpus.pin(Side::Far, 0)?;
            count(&receiver, over)
        });
        let sending = scope.spawn(move || {
            cpus.pin(Side::Near, 0)?;
            send(&sender, packet.saturating_sub(HEADERS), time)
        });
        let sent = joined(sending);
        over.store(true, Ordering::Relaxed);
        let arrived = joined(counting)?;
        let (sent, time) = sent?;
        Ok(Datagrams { sent, arrived, time })
    })
}

/// Sends payloads of so many bytes for so long: how many, and how long it was.
///
/// # Errors
///
/// The other end is unreachable.
pub fn send(socket: &UdpSocket, len: usize, time: Duration) -> Result<(u64, Duration)> {
    let payload = payload(len);
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok((sent, elapsed));
        }
        match socket.send(&payload) {
            Ok(_) => sent += 1,
            // No room in the device's queue.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(error).context("cannot send a datagram"),
        }
    }
}

/// Counts datagrams until `over` is said and no more arrive.
///
/// # Errors
///
/// The socket is closed.
pub fn count(socket: &UdpSocket, over: &AtomicBool) -> Result<u64> {
    socket.set_read_timeout(Some(SETTLED)).context("cannot limit reading")?;
    let mut payload = vec![0; 1 << 16];
    let mut arrived = 0;
    loop {
        match socket.recv(&mut payload) {
            Ok(_) => arrived += 1,
            Err(error) if is_timeout(&error) => {
                if over.load(Ordering::Relaxed) {
                    return Ok(arrived);
                }
            }
            Err(error) => return Err(error).context("cannot receive a datagram"),
        }
    }
}
