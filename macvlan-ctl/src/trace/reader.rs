//! Records on their way from the programs, through a ring buffer, to whoever prints them.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use log::{Log, Metadata};
use macvlan_common::{names, trace::FrameRecord};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    time::{ClockId, clock_gettime},
};

use crate::trace::event::{Event, Names};

/// Records that wait for their printing; further ones are lost, and counted.
const QUEUE: usize = 8192;

/// Messages of the programs that are kept.
const MOST_MESSAGES: usize = 16;

/// How soon the reader sees that it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Takes records out of the kernel, on a thread of its own: under load that never ends until the
/// programs are back.
pub struct Reader {
    thread: JoinHandle<u64>,
    ends: Arc<AtomicBool>,
    messages: Messages,
}

/// What a reader has read.
pub struct Read {
    /// Records that were taken out and found room to wait for their printing.
    pub received: u64,
    /// What the programs have to say to people.
    pub messages: Vec<String>,
}

impl Reader {
    /// Begins to read the records and messages of these programs.
    ///
    /// # Errors
    ///
    /// The object has no ring of records or messages, or no thread can be started.
    pub fn start(object: &mut Ebpf, names: Names) -> Result<(Self, Events)> {
        let (sender, receiver) = sync_channel(QUEUE);
        let ring = object.take_map(names::TRACE_RING).context("no ring of records in the object")?;
        let mut ring = RingBuf::try_from(ring).context("cannot read the records of the programs")?;
        let messages = Messages::default();
        let mut logger = EbpfLogger::init_with_logger(object, messages.clone())
            .context("cannot read the messages of the programs")?;
        let events = Events { receiver, names, booted: booted()? };
        let ends = Arc::new(AtomicBool::new(false));
        let is_to_end = ends.clone();
        let thread = thread::Builder::new().name("trace".into()).spawn(move || {
            let mut received = 0;
            loop {
                // Before the last reading, so that nothing written until then is missed.
                let last = is_to_end.load(Ordering::Acquire);
                received += take_records(&mut ring, &sender);
                logger.flush();
                if last {
                    return received;
                }
                wait([ring.as_fd(), logger.as_fd()]);
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok((Self { thread, ends, messages }, events))
    }

    /// Reads what is left. Nothing may write any more.
    ///
    /// # Errors
    ///
    /// A message is not one of aya-log.
    pub fn stop(self) -> Result<Read> {
        self.ends.store(true, Ordering::Release);
        let received = self.thread.join().map_err(|_| anyhow!("cannot read the messages of the programs"))?;
        Ok(Read { received, messages: self.messages.take() })
    }
}

/// Hands on the records that are there; gives how many of them found room.
fn take_records(ring: &mut RingBuf<MapData>, sender: &SyncSender<FrameRecord>) -> u64 {
    let mut received = 0;
    while let Some(entry) = ring.next() {
        let Some(record) = FrameRecord::decode(&entry) else { continue };
        // That nobody prints any more is no loss.
        if !matches!(sender.try_send(record), Err(TrySendError::Full(_))) {
            received += 1;
        }
    }
    received
}

fn wait(rings: [BorrowedFd<'_>; 2]) {
    let mut fds = rings.map(|ring| PollFd::new(ring, PollFlags::POLLIN));
    let patience = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    // Interrupted or not: it is looked again.
    let _ = poll(&mut fds, patience);
}

/// When this machine was booted, by the wall clock.
fn booted() -> Result<Duration> {
    let now = |clock| clock_gettime(clock).map(Duration::from).context("cannot read the clock");
    Ok(now(ClockId::CLOCK_REALTIME)?.saturating_sub(now(ClockId::CLOCK_BOOTTIME)?))
}

/// The messages of the programs, from aya-log.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Messages {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Messages {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, message: &log::Record<'_>) {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MOST_MESSAGES {
            messages.push(message.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// What the programs record, in the order in which they did.
pub struct Events {
    receiver: Receiver<FrameRecord>,
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
    use super::*;

    #[test]
    fn only_the_first_messages_are_kept() {
        let messages = Messages::default();
        for number in 0..2 * MOST_MESSAGES {
            messages.log(&log::Record::builder().args(format_args!("message {number}")).build());
        }
        let kept = messages.take();
        assert_eq!((kept.len(), kept[0].as_str()), (MOST_MESSAGES, "message 0"));
        assert!(messages.take().is_empty());
    }
}
