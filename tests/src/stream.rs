//! TCP and UDP that goes on and on, and how much of it arrives.

use std::{
    io::{Read as _, Write as _},
    mem::size_of_val,
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    fail::{OrFail as _, patience},
    lab::Station,
};

/// Bytes of TCP payload in a full frame of 1500 bytes (with timestamps), and of UDP payload.
const TCP_PAYLOAD: u64 = 1448;
const UDP_PAYLOAD: u64 = 1472;

/// Bytes of such a frame, layer 2 without FCS.
const FRAME: u64 = 1514;

/// How long a thread may be in the kernel before it looks whether to end.
const LOOK: Duration = Duration::from_millis(100);

/// A stream of full frames to one receiver, until this is dropped.
pub struct Stream {
    payload: u64,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// As much TCP as goes, with CUBIC for congestion control.
    #[track_caller]
    pub fn tcp(from: &Station, to: &Station) -> Self {
        let listener = to.ns.enter(|| TcpListener::bind((to.ip, 0))).or_fail("listen");
        let address = listener.local_addr().or_fail("read a socket's address");
        let client = from.ns.enter(|| TcpStream::connect_timeout(&address, patience())).or_fail("connect");
        set_congestion_control(&client, c"cubic");
        let (server, _) = listener.accept().or_fail("accept");
        server.set_read_timeout(Some(LOOK)).or_fail("set a timeout");
        client.set_write_timeout(Some(LOOK)).or_fail("set a timeout");
        let mut stream = Self::new(TCP_PAYLOAD);
        stream.spawn(move |_, stop| {
            let data = vec![0; 1 << 16];
            while !stop.load(Relaxed) {
                // Nothing goes while the peer is to be waited for: that is no error.
                let _ = (&client).write(&data);
            }
        });
        stream.spawn(move |received, stop| {
            let mut buffer = vec![0; 1 << 18];
            while !stop.load(Relaxed) {
                received.fetch_add((&server).read(&mut buffer).unwrap_or_default() as u64, Relaxed);
            }
        });
        stream
    }

    /// So many datagrams a second, whatever becomes of them.
    #[track_caller]
    pub fn udp(from: &Station, to: &Station, per_second: u64) -> Self {
        let server = to.ns.enter(|| UdpSocket::bind((to.ip, 0))).or_fail("open a UDP socket");
        let address = server.local_addr().or_fail("read a socket's address");
        let client = from.ns.enter(|| UdpSocket::bind((from.ip, 0))).or_fail("open a UDP socket");
        server.set_read_timeout(Some(LOOK)).or_fail("set a timeout");
        let mut stream = Self::new(UDP_PAYLOAD);
        stream.spawn(move |_, stop| {
            let data = [0; UDP_PAYLOAD as usize];
            let (start, mut sent) = (Instant::now(), 0);
            while !stop.load(Relaxed) {
                let due = start.elapsed().as_micros() as u64 * per_second / 1_000_000;
                // Who was kept waiting does not catch up: a burst would only be lost in the socket.
                sent = due.saturating_sub(50).max(sent);
                while sent < due {
                    // That it was dropped on its way out is told as an error.
                    let _ = client.send_to(&data, address);
                    sent += 1;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        stream.spawn(move |received, stop| {
            let mut buffer = [0; 2048];
            while !stop.load(Relaxed) {
                received.fetch_add(server.recv(&mut buffer).unwrap_or_default() as u64, Relaxed);
            }
        });
        stream
    }

    fn new(payload: u64) -> Self {
        Self { payload, received: Arc::default(), stop: Arc::default(), threads: Vec::new() }
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicU64, &AtomicBool) + Send + 'static) {
        let (received, stop) = (Arc::clone(&self.received), Arc::clone(&self.stop));
        self.threads.push(thread::spawn(move || work(&received, &stop)));
    }

    /// Bits that arrived since it began, layer 2 without FCS.
    pub fn bits(&self) -> u64 {
        self.received.load(Relaxed) * 8 * FRAME / self.payload
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // What it met is not what a test is about; that nothing arrived shows by the count.
            let _ = thread.join();
        }
    }
}

/// What of a rate may be off.
pub const TOLERANCE: f64 = 0.05;

/// How long is measured, after how long; and how long a busy machine may take for it.
const SPAN: Duration = Duration::from_secs(4);
const SETTLE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(30);

/// Readings of a stream's bits, and when they were taken.
#[derive(Default)]
struct Readings(Vec<(Instant, u64)>);

impl Readings {
    /// The rate over the last [`SPAN`].
    fn latest(&self) -> Option<f64> {
        let (end, last) = *self.0.last()?;
        let (start, first) = *self.0.iter().rev().find(|(at, _)| end.duration_since(*at) >= SPAN)?;
        Some((last - first) as f64 / end.duration_since(start).as_secs_f64())
    }
}

/// Every stream comes to this rate: never more than that and the burst, and within a span to within
/// [`TOLERANCE`] of it. A span in which the machine was busy elsewhere may show less.
///
/// # Panics
///
/// When one does not.
#[track_caller]
pub fn come_to_the_rate(streams: &[(String, Stream)], wanted: f64) {
    thread::sleep(SETTLE);
    let start = Instant::now();
    let mut all: Vec<Readings> = streams.iter().map(|_| Readings::default()).collect();
    let mut best = vec![0.0_f64; streams.len()];
    loop {
        for (((name, stream), readings), best) in streams.iter().zip(&mut all).zip(&mut best) {
            readings.0.push((Instant::now(), stream.bits()));
            let Some(rate) = readings.latest() else { continue };
            // The default burst, half a second, is the most that may be left of before.
            let most = wanted * (1.0 + TOLERANCE + 0.5 / SPAN.as_secs_f64());
            assert!(rate <= most, "{name}: {:.2} Mbit/s", rate / 1e6);
            if (rate - wanted).abs() < (*best - wanted).abs() {
                *best = rate;
            }
        }
        let told: Vec<String> = streams
            .iter()
            .zip(&best)
            .map(|((name, _), rate)| format!("{name}: {:.2} Mbit/s", rate / 1e6))
            .collect();
        if best.iter().all(|rate| (rate / wanted - 1.0).abs() <= TOLERANCE) {
            println!("after {:?}: {told:#?}", start.elapsed());
            return;
        }
        assert!(start.elapsed() < DEADLINE, "not {:.2} Mbit/s: {told:#?}", wanted / 1e6);
        thread::sleep(Duration::from_millis(250));
    }
}

#[track_caller]
fn set_congestion_control(socket: &TcpStream, name: &std::ffi::CStr) {
    let name = name.to_bytes();
    // SAFETY: the pointer and the length are those of a live slice.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            size_of_val(name) as libc::socklen_t,
        )
    };
    assert_eq!(status, 0, "cannot set congestion control: {}", std::io::Error::last_os_error());
}
