//! One of these ways at work: how much its program receives and sends, and how soon it answers.

use std::{
    net::UdpSocket,
    os::fd::AsRawFd as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    bench::{
        user_space::{program::Program, station::Station, way::Way},
        wiring::DEVICE,
    },
    lab::{
        arrivals::{packets_delivered, settled},
        cables::index_of,
        cpu::{Cpus, Side},
        frames::{self, PORT},
        generator::Generator,
        traffic::{is_timeout, joined},
    },
};

/// How long a sleeping program waits before it looks again whether it is over.
const NAP: u16 = 5;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a program may take over what the generator has sent.
const SETTLED: Duration = Duration::from_millis(5);

/// A way, with its program and a generator on the wire.
pub struct Measured {
    /// Whose it is.
    pub way: &'static Way,
    program: Mutex<Box<dyn Program>>,
    generator: Generator,
    /// From the wire.
    frame: Vec<u8>,
    /// Takes what the program sends, and never reads it.
    _sink: UdpSocket,
    station: Station,
}

impl Measured {
    /// Builds its lab, and begins its program.
    ///
    /// # Errors
    ///
    /// This is not root, or the kernel lacks something.
    pub fn build(way: &'static Way) -> Result<Self> {
        let station = Station::build(way.kind)?;
        let program = Mutex::new(way.open(&station)?);
        let wire = &station.wire;
        let sink = wire.netns.run(|| UdpSocket::bind(("0.0.0.0", PORT)).context("cannot take datagrams"))?;
        let frame = frames::datagram(wire.party()?, station.party()?)?;
        Ok(Self {
            way,
            program,
            generator: Generator::new(index_of(&wire.netns, DEVICE)?),
            frame,
            _sink: sink,
            station,
        })
    }

    /// Frames per second that the program takes, of as many as come.
    ///
    /// # Errors
    ///
    /// Not one came, or a descriptor is of no use.
    pub fn receive(&self, cpus: &Cpus, frames: u32) -> Result<f64> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(|| self.work(cpus, &over, false));
            let sending = scope.spawn(|| {
                self.station.wire.netns.run(|| {
                    cpus.take_one()?;
                    self.generator.send(&self.frame, frames)
                })
            });
            let took = joined(sending);
            thread::sleep(SETTLED);
            over.store(true, Ordering::Relaxed);
            let taken = joined(reading)?;
            if taken == 0 {
                bail!("not one of {frames} frames was read");
            }
            Ok(taken as f64 / took?.busy.as_secs_f64())
        })
    }

    /// Frames per second that arrive beyond the master.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn send(&self, cpus: &Cpus, time: Duration) -> Result<f64> {
        let netns = &self.station.wire.netns;
        let before = packets_delivered(netns)?;
        let took = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                cpus.take_one()?;
                let mut program = self.program();
                let start = Instant::now();
                while start.elapsed() < time {
                    program.send().context("cannot send")?;
                }
                Ok(start.elapsed())
            });
            joined(sending)
        })?;
        let arrived = settled(|| packets_delivered(netns))? - before;
        if arrived == 0 {
            bail!("nothing arrived");
        }
        Ok(arrived as f64 / took.as_secs_f64())
    }

    /// The median of the seconds until a datagram is back.
    ///
    /// # Errors
    ///
    /// None came back.
    pub fn echo(&self, cpus: &Cpus, time: Duration) -> Result<f64> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let answering = scope.spawn(|| self.work(cpus, &over, true));
            let asking = scope.spawn(|| {
                cpus.take_one()?;
                self.ask(time)
            });
            let median = joined(asking);
            over.store(true, Ordering::Relaxed);
            joined(answering)?;
            median
        })
    }

    fn program(&self) -> std::sync::MutexGuard<'_, Box<dyn Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until it is over. Gives how many frames there were.
    fn work(&self, cpus: &Cpus, over: &AtomicBool, answers: bool) -> Result<usize> {
        cpus.pin(Side::Near, 0)?;
        let mut program = self.program();
        let (mut taken, mut last) = (0, Instant::now());
        while !over.load(Ordering::Relaxed) {
            let count = program.take(answers).context("cannot read")?;
            taken += count;
            if count > 0 {
                last = Instant::now();
            } else if last.elapsed() >= self.way.patience {
                let mut waiting = [PollFd::new(program.descriptor(), PollFlags::POLLIN)];
                poll(&mut waiting, PollTimeout::from(NAP)).context("cannot wait")?;
            }
        }
        Ok(taken)
    }

    fn ask(&self, time: Duration) -> Result<f64> {
        // Not the one that datagrams wait in which nobody reads.
        let wire = &self.station.wire.netns;
        let socket = wire.run(|| UdpSocket::bind(("0.0.0.0", 0)).context("cannot ask"))?;
        without_checksums(&socket)?;
        socket.connect((self.station.party()?.address, PORT)).context("cannot send datagrams")?;
        socket.set_read_timeout(Some(PATIENCE)).context("cannot limit reading")?;
        let mut histogram = Histogram::<u64>::new(3).context("cannot keep times")?;
        let start = Instant::now();
        while start.elapsed() < time {
            let sent = Instant::now();
            socket.send(&[0; 18]).context("cannot ask")?;
            match socket.recv(&mut [0; 64]) {
                Ok(_) => histogram.record(sent.elapsed().as_nanos() as u64).context("cannot keep a time")?,
                // One that is lost has no time.
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("cannot hear an answer"),
            }
        }
        if histogram.is_empty() {
            bail!("there is no answer");
        }
        Ok(histogram.value_at_quantile(0.5) as f64 * 1e-9)
    }
}

/// A stack leaves checksums to the device, and a veth has none: a program that hands the frame back would have to make
/// one.
fn without_checksums(socket: &UdpSocket) -> Result<()> {
    let (on, len) = (1_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointer and the length are those of a live value.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const on).cast(), len)
    };
    if set < 0 { Err(std::io::Error::last_os_error()).context("cannot leave out checksums") } else { Ok(()) }
}
