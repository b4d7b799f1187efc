//! Records on their way from the programs, through aya-log, to whoever prints them.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata};
use macvlan_common::trace::{RECORD_LEN, Record};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    time::{ClockId, clock_gettime},
};

use crate::trace::event::{Event, Names};

/// Records that wait for their printing; further ones are lost, and counted.
const QUEUE: usize = 8192;

/// How soon the reader sees that it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Takes records out of the kernel, on a thread of its own: under load that never ends until the
/// programs are back.
pub struct Reader {
    thread: JoinHandle<()>,
    ends: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
}

impl Reader {
    /// Begins to read the log of these programs.
    ///
    /// # Errors
    ///
    /// When they have none, or there can be no thread.
    pub fn start(object: &mut Ebpf, names: Names) -> Result<(Self, Events)> {
        let (sender, receiver) = sync_channel(QUEUE);
        let received = Arc::new(AtomicU64::new(0));
        let ends = Arc::new(AtomicBool::new(false));
        let sink = Sink { sender, received: received.clone() };
        let mut logger =
            EbpfLogger::init_with_logger(object, sink).context("cannot read the log of the programs")?;
        let events = Events { receiver, names, booted: booted()? };
        let is_to_end = ends.clone();
        let thread = thread::Builder::new().name("trace".into()).spawn(move || {
            loop {
                // Before the last reading, so that nothing written until then is missed.
                let last = is_to_end.load(Ordering::Acquire);
                logger.flush();
                if last {
                    break;
                }
                wait(&logger);
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok((Self { thread, ends, received }, events))
    }

    /// Reads what is left and gives how many records there were. Nothing may write any more.
    ///
    /// # Errors
    ///
    /// When something that was read is no record of aya-log.
    pub fn stop(self) -> Result<u64> {
        self.ends.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("the log of the programs cannot be read"))?;
        Ok(self.received.load(Ordering::Acquire))
    }
}

fn wait(log: &impl AsFd) {
    let mut fds = [PollFd::new(log.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    // Interrupted or not: it is looked again.
    let _ = poll(&mut fds, patience);
}

/// When this machine was booted, by the wall clock.
fn booted() -> Result<Duration> {
    let now = |clock| clock_gettime(clock).map(Duration::from).context("cannot read the clock");
    Ok(now(ClockId::CLOCK_REALTIME)?.saturating_sub(now(ClockId::CLOCK_BOOTTIME)?))
}

/// What aya-log hands its lines to.
struct Sink {
    sender: SyncSender<Record>,
    received: Arc<AtomicU64>,
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, line: &log::Record<'_>) {
        let Some(record) = parse(&line.args().to_string()) else { return };
        // That nobody prints any more is no loss.
        if !matches!(self.sender.try_send(record), Err(TrySendError::Full(_))) {
            self.received.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn flush(&self) {}
}

/// The record that a line of aya-log shows in hexadecimal.
fn parse(line: &str) -> Option<Record> {
    let mut octets = [0; RECORD_LEN];
    let (pairs, rest) = line.as_bytes().as_chunks::<2>();
    if pairs.len() != RECORD_LEN || !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
        *octet = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Record::decode(&octets)
}

/// What the programs tell, in their order on each CPU.
pub struct Events {
    receiver: Receiver<Record>,
    names: Names,
    booted: Duration,
}

impl Events {
    /// The next event; `None` when the trace has ended. Calls `before_waiting` when none is there yet.
    ///
    /// # Errors
    ///
    /// That of `before_waiting`.
    pub fn next<E>(&mut self, mut before_waiting: impl FnMut() -> Result<(), E>) -> Result<Option<Event>, E> {
        loop {
            let record = match self.receiver.try_recv() {
                Ok(record) => record,
                Err(TryRecvError::Empty) => {
                    before_waiting()?;
                    match self.receiver.recv() {
                        Ok(record) => record,
                        Err(_) => return Ok(None),
                    }
                }
                Err(TryRecvError::Disconnected) => return Ok(None),
            };
            // A record that no program of ours writes.
            if let Some(event) = Event::new(&record, &self.names, self.booted) {
                return Ok(Some(event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use macvlan_common::trace::HEAD_LEN;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_hexadecimal_is_its_record() {
        let line = format!("{}{}", "0102".repeat(4), "00".repeat(RECORD_LEN - 8));
        let record = parse(&line).unwrap();
        assert_eq!(record.time.to_le_bytes(), [1, 2, 1, 2, 1, 2, 1, 2]);
        assert_eq!(record.head, [0; HEAD_LEN]);
        assert!(parse(&line[1..]).is_none());
        assert!(parse(&format!("{line}00")).is_none());
        assert!(parse(&line.replace('2', "g")).is_none());
    }

    proptest! {
        #[test]
        fn any_line_is_a_record_or_none(line: String, octets in prop::collection::vec(any::<u8>(), RECORD_LEN)) {
            let _ = parse(&line);
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            prop_assert_eq!(parse(&hex), Record::decode(&octets));
        }
    }
}
