//! TCP streams: one side writes as fast as it may, the other reads.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::lab::{
    cpu::{Cpus, Side},
    traffic::{Endpoint, joined, pair, payload},
};

/// Bytes of one call, as iperf3 has them.
const BLOCK: usize = 128 << 10;

/// What arrived, and between which moments.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Bytes of payload.
    pub bytes: u64,
    /// When the first were there.
    pub first: Instant,
    /// When the last were.
    pub last: Instant,
}

/// Bytes per second that so many streams carry together, at their receiver.
///
/// # Errors
///
/// When a connection cannot be made or breaks.
pub fn stream(
    cpus: &Cpus,
    from: Endpoint<'_>,
    to: Endpoint<'_>,
    flows: usize,
    time: Duration,
) -> Result<f64> {
    let pairs: Vec<_> = (0..flows).map(|_| pair(from, to)).collect::<Result<_>>()?;
    let arrived = thread::scope(|scope| {
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        for (number, (near, far)) in pairs.into_iter().enumerate() {
            readers.push(scope.spawn(move || {
                cpus.pin(Side::Far, number)?;
                drain(far)
            }));
            writers.push(scope.spawn(move || {
                cpus.pin(Side::Near, number)?;
                fill(near, time)
            }));
        }
        let written: Result<Vec<()>> = writers.into_iter().map(joined).collect();
        let arrived: Result<Vec<Arrived>> = readers.into_iter().map(joined).collect();
        written.and(arrived)
    })?;
    Ok(rate(&arrived))
}

/// Bytes per second of streams that ran together.
pub fn rate(arrived: &[Arrived]) -> f64 {
    let bytes: u64 = arrived.iter().map(|stream| stream.bytes).sum();
    let first = arrived.iter().map(|stream| stream.first).min();
    let last = arrived.iter().map(|stream| stream.last).max();
    match (first, last) {
        (Some(first), Some(last)) if last > first => bytes as f64 / (last - first).as_secs_f64(),
        _ => 0.0,
    }
}

/// Writes for so long, then closes.
///
/// # Errors
///
/// When the connection breaks.
pub fn fill(mut stream: TcpStream, time: Duration) -> Result<()> {
    let block = payload(BLOCK);
    let start = Instant::now();
    while start.elapsed() < time {
        stream.write_all(&block).context("cannot write to a stream")?;
    }
    Ok(())
}

/// Reads until the other side closes.
///
/// # Errors
///
/// When the connection breaks.
pub fn drain(mut stream: TcpStream) -> Result<Arrived> {
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    let mut first = Instant::now();
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(Arrived { bytes, first, last: Instant::now() }),
            Ok(some) => {
                if bytes == 0 {
                    first = Instant::now();
                }
                bytes += some as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read from a stream"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_overlap_are_added_up_over_the_whole_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let one = Arrived { bytes: 600, first: at(0), last: at(2) };
        let other = Arrived { bytes: 300, first: at(1), last: at(3) };
        assert_eq!(rate(&[one, other]), 300.0);
        assert_eq!(rate(&[]), 0.0);
        assert_eq!(rate(&[Arrived { bytes: 5, first: at(1), last: at(1) }]), 0.0);
    }
}
