//! A TCP connection that is in use all the time, to see that it survives what happens beside it.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    fail::{OrFail as _, patience, wait_for},
    lab::{Family, Station},
};

/// Between two exchanges. Without a pause, two such connections keep everything else from two processors
/// for a minute at a time, the kernel's own threads included: seen on 6.18, where grace periods then took
/// as long.
const PAUSE: Duration = Duration::from_micros(200);

/// Bytes that go there and come back, again and again.
const MESSAGE: [u8; 512] = [0x5a; 512];

/// Two stations, of which one says what the other says back.
#[derive(Debug)]
pub struct Conversation {
    client: TcpStream,
    exchanges: Arc<AtomicU64>,
    talking: Option<JoinHandle<std::io::Result<()>>>,
    answering: Option<JoinHandle<std::io::Result<()>>>,
}

impl Conversation {
    /// Connects `from` to `to`, and lets them talk until [`end`](Self::end).
    #[track_caller]
    pub fn start(from: &Station, to: &Station, family: Family) -> Self {
        let listener = to.ns.enter(|| TcpListener::bind((to.address(family), 0))).or_fail("listen");
        let address = listener.local_addr().or_fail("read a socket's address");
        let client = from.ns.enter(|| TcpStream::connect_timeout(&address, patience())).or_fail("connect");
        let (server, _) = listener.accept().or_fail("accept a connection");
        for stream in [&client, &server] {
            stream.set_nodelay(true).or_fail("send at once");
            stream.set_read_timeout(Some(patience())).or_fail("set a timeout");
            stream.set_write_timeout(Some(patience())).or_fail("set a timeout");
        }
        let exchanges = Arc::new(AtomicU64::new(0));
        let (stream, count) = (client.try_clone().or_fail("share a socket"), Arc::clone(&exchanges));
        Self {
            client,
            exchanges,
            talking: Some(thread::spawn(move || talk(stream, &count))),
            answering: Some(thread::spawn(move || answer(server))),
        }
    }

    /// Waits until something has gone there and back after this call.
    ///
    /// # Panics
    ///
    /// When nothing does: the connection is broken, or stuck.
    #[track_caller]
    pub fn goes_on(&self, when: &str) {
        // One may have been on its way already.
        let enough = self.exchanges.load(Ordering::Relaxed) + 2;
        wait_for(format_args!("the connection to go on, {when}"), || {
            (self.exchanges.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Ends it, and tells how often something went there and back.
    ///
    /// # Panics
    ///
    /// When it had broken.
    #[track_caller]
    pub fn end(mut self) -> u64 {
        self.goes_on("at its end");
        self.client.shutdown(Shutdown::Write).or_fail("end a connection");
        for side in [&mut self.talking, &mut self.answering] {
            let side = side.take().or_fail("end a connection twice");
            let outcome = side.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            outcome.or_fail("keep a connection");
        }
        self.exchanges.load(Ordering::Relaxed)
    }
}

/// Until it may not write any more.
fn talk(mut stream: TcpStream, exchanges: &AtomicU64) -> std::io::Result<()> {
    let mut back = MESSAGE;
    loop {
        match stream.write_all(&MESSAGE) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        match stream.read_exact(&mut back) {
            // The end came between the two.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        assert_eq!(back, MESSAGE, "what came back is not what was sent");
        exchanges.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
}

/// Until the other says no more.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = MESSAGE;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}
