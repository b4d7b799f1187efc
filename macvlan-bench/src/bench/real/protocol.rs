//! What the two nodes say to each other: a line of JSON each time, over a connection that the client
//! keeps open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The port that is served unless told otherwise.
pub const PORT: u16 = 5299;

/// Longest line: what anybody may send must not fill the memory.
const LONGEST: u64 = 1024;

/// Most streams, and longest measurement, that a client may ask for.
const MOST_FLOWS: usize = 16;

const LONGEST_TIME: u32 = 10_000;

/// IP packets are at most that large, headers included.
const LARGEST: usize = 1500;

/// What the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "workload", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// TCP streams, to the server or back.
    Stream {
        /// How many.
        flows: usize,
        /// Milliseconds.
        millis: u32,
        /// The server sends.
        back: bool,
    },
    /// TCP requests, which the server answers.
    Turns,
    /// TCP connections, which the server accepts.
    Connections,
    /// UDP, to the server or back.
    Datagrams {
        /// Bytes of an IP packet.
        packet: usize,
        /// Milliseconds.
        millis: u32,
        /// The server sends.
        back: bool,
    },
    /// All datagrams were sent.
    Over,
}

impl Order {
    /// Refuses what would take too much of the server.
    ///
    /// # Errors
    ///
    /// What is too much.
    pub fn check(&self) -> Result<()> {
        let (flows, packet, millis) = match *self {
            Self::Stream { flows, millis, .. } => (flows, LARGEST, millis),
            Self::Datagrams { packet, millis, .. } => (1, packet, millis),
            Self::Turns | Self::Connections | Self::Over => return Ok(()),
        };
        if !(1..=MOST_FLOWS).contains(&flows) {
            bail!("{flows} streams: 1 to {MOST_FLOWS} are possible");
        }
        if !(crate::lab::traffic::udp::HEADERS..=LARGEST).contains(&packet) {
            bail!("packets of {packet} bytes: at most {LARGEST} are possible");
        }
        if millis > LONGEST_TIME {
            bail!("{millis} ms: at most {LONGEST_TIME} are possible");
        }
        Ok(())
    }
}

/// A time as it is told.
pub fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// Connect, or send, to this port.
    Ready(u16),
    /// The server's side is over: bytes per second or datagrams that it received or sent.
    Done(f64),
    /// It could not be done.
    Failed(String),
}

/// A connection that lines go over.
pub struct Lines(BufReader<TcpStream>);

impl Lines {
    /// Over this connection.
    pub fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Says something.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what).context("cannot write JSON")? + "\n";
        self.0.get_mut().write_all(line.as_bytes()).context("cannot talk to the other node")
    }

    /// Hears something; `None` when the other side has closed.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is not what is spoken here.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(LONGEST).read_until(b'\n', &mut line);
        read.context("cannot hear the other node")?;
        if line.is_empty() {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            bail!("the other node does not end its line: it is no \"macvlan-ctl bench\"");
        }
        let what = serde_json::from_slice(&line);
        what.map(Some).context("the other node speaks another language: is it the same version?")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_much_is_refused() {
        let stream = |flows, millis| Order::Stream { flows, millis, back: true };
        let datagrams = |packet| Order::Datagrams { packet, millis: 100, back: true };
        for fine in [stream(1, 1), stream(16, 10_000), datagrams(28), datagrams(1500), Order::Over] {
            fine.check().unwrap();
        }
        for bad in [stream(0, 1), stream(17, 1), stream(1, 10_001), datagrams(27), datagrams(1501)] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_sent_to_us(line: Vec<u8>) {
            let _ = serde_json::from_slice::<Order>(&line);
            let _ = serde_json::from_slice::<Answer>(&line);
        }
    }
}
