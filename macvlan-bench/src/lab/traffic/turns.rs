//! TCP request and response: a byte there, a byte back, and how long that took.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;

use crate::lab::{
    cpu::{Cpus, Side},
    traffic::{Endpoint, joined, pair},
};

/// Round-trip times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turns {
    /// How many round trips there were.
    pub count: u64,
    /// Half of them took less, in seconds.
    pub median: f64,
    /// 99 of 100 took less.
    pub p99: f64,
    /// 999 of 1,000 took less.
    pub p999: f64,
}

/// Takes turns for so long.
///
/// # Errors
///
/// When a connection cannot be made or breaks.
pub fn turns(cpus: &Cpus, near: Endpoint<'_>, far: Endpoint<'_>, time: Duration) -> Result<Turns> {
    let (asks, answers) = pair(near, far)?;
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            cpus.pin(Side::Far, 0)?;
            answer(answers)
        });
        let asking = scope.spawn(move || {
            cpus.pin(Side::Near, 0)?;
            ask(asks, time)
        });
        let turns = joined(asking);
        joined(answering).and(turns)
    })
}

/// Asks, and waits for each answer, for so long.
///
/// # Errors
///
/// When the connection breaks, or not one answer came.
pub fn ask(mut stream: TcpStream, time: Duration) -> Result<Turns> {
    stream.set_nodelay(true).context("cannot send at once")?;
    // Nanoseconds with three digits; it grows as it has to.
    let mut histogram = Histogram::<u64>::new(3).context("cannot keep times")?;
    let start = Instant::now();
    let mut sent = start;
    while sent - start < time {
        let mut byte = [0];
        stream.write_all(&byte).context("cannot ask")?;
        stream.read_exact(&mut byte).context("there is no answer")?;
        let now = Instant::now();
        let took = u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX);
        histogram.record(took).context("cannot keep a time")?;
        sent = now;
    }
    if histogram.is_empty() {
        bail!("there was no time for one question");
    }
    let seconds = |quantile| histogram.value_at_quantile(quantile) as f64 * 1e-9;
    Ok(Turns { count: histogram.len(), median: seconds(0.5), p99: seconds(0.99), p999: seconds(0.999) })
}

/// Answers until the other side closes.
///
/// # Errors
///
/// When the connection breaks.
pub fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true).context("cannot send at once")?;
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => stream.write_all(&byte).context("cannot answer")?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read a question"),
        }
    }
}
