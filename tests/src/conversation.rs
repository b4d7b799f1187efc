//! An established TCP connection that goes on talking while something else happens.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    fail::{OrFail as _, PATIENCE, wait_for},
    lab::{Family, Station},
};

/// Octets that go there and back each time.
const LEN: usize = 512;

/// Two stations that say something and wait for the echo, again and again, until this is dropped.
#[derive(Debug)]
pub struct Conversation {
    said: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    talking: Option<JoinHandle<io::Result<()>>>,
}

impl Conversation {
    /// Begins one.
    #[track_caller]
    pub fn start(from: &Station, to: &Station, family: Family) -> Self {
        let address = (to.address(family), 0);
        let listener = to.ns.enter(|| TcpListener::bind(address)).or_fail("listen");
        let address = listener.local_addr().or_fail("read a socket's address");
        let accepting = thread::spawn(move || listener.accept().map(|(stream, _)| stream));
        let stream = from.ns.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).or_fail("connect");
        let other = accepting.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let other = other.or_fail("accept a connection");
        for stream in [&stream, &other] {
            stream.set_nodelay(true).or_fail("send at once");
            stream.set_read_timeout(Some(PATIENCE)).or_fail("set a timeout");
        }
        thread::spawn(move || echo(&other));
        let (said, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let talking = {
            let (said, stop) = (Arc::clone(&said), Arc::clone(&stop));
            thread::spawn(move || talk(&stream, &said, &stop))
        };
        let conversation = Self { said, stop, talking: Some(talking) };
        conversation.goes_on();
        conversation
    }

    /// Waits until more was said and echoed.
    #[track_caller]
    pub fn goes_on(&self) {
        const MORE: u64 = 5;
        let wanted = self.said.load(Ordering::Relaxed) + MORE;
        wait_for("a TCP connection to go on", || {
            let ended = self.talking.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!ended, "the connection broke");
            (self.said.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// When it had broken.
    #[track_caller]
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let talking = self.talking.take().or_fail("end a conversation");
        talking.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)).or_fail("go on over TCP");
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn talk(mut stream: &TcpStream, said: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let word = [number as u8; LEN];
        stream.write_all(&word)?;
        let mut echo = [0; LEN];
        stream.read_exact(&mut echo)?;
        if echo != word {
            return Err(io::Error::other("the echo is not what was said"));
        }
        said.store(number, Ordering::Relaxed);
        // It is to last, not to fill the machine.
        thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

fn echo(mut stream: &TcpStream) {
    let mut buffer = [0; LEN];
    while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
}
