//! Connections: opened, one byte each way, closed; as fast as one client can.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::lab::{
    cpu::{Cpus, Side},
    traffic::{Endpoint, PATIENCE, be_patient, joined, listen},
};

/// The byte of the last connection.
const LAST: u8 = 1;

/// Connections per second.
///
/// # Errors
///
/// When one cannot be made.
pub fn connections(cpus: &Cpus, near: Endpoint<'_>, far: Endpoint<'_>, time: Duration) -> Result<f64> {
    // A port of its own each time: none of the waiting (`TIME_WAIT`) is in the way.
    let listener = listen(far)?;
    let address = listener.local_addr().context("cannot tell the port")?;
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            cpus.pin(Side::Far, 0)?;
            answer_each(&listener)
        });
        let asking = scope.spawn(move || {
            near.netns.enter()?;
            cpus.pin(Side::Near, 0)?;
            connect_again(
                || {
                    let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
                    be_patient(&stream)?;
                    Ok(stream)
                },
                time,
            )
        });
        let rate = joined(asking);
        let answered = joined(answering);
        rate.and_then(|rate| answered.map(|()| rate))
    })
}

/// Connects, asks, hears the answer and the end, for so long; then tells the other side to stop.
///
/// # Errors
///
/// When a connection cannot be made.
pub fn connect_again(connect: impl Fn() -> Result<TcpStream>, time: Duration) -> Result<f64> {
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < time {
        one(connect()?, 0)?;
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    one(connect()?, LAST)?;
    Ok(rate)
}

fn one(mut stream: TcpStream, byte: u8) -> Result<()> {
    stream.write_all(&[byte]).context("cannot ask")?;
    let mut answer = Vec::with_capacity(1);
    stream.read_to_end(&mut answer).context("there is no answer")?;
    if answer.len() != 1 {
        bail!("a connection ended without an answer");
    }
    Ok(())
}

/// Answers connections until one says that it is the last.
///
/// # Errors
///
/// When one cannot be accepted or breaks.
pub fn answer_each(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().context("cannot accept a connection")?;
        be_patient(&stream)?;
        let mut byte = [0];
        stream.read_exact(&mut byte).context("cannot read a question")?;
        stream.write_all(&byte).context("cannot answer")?;
        if byte == [LAST] {
            return Ok(());
        }
    }
}
