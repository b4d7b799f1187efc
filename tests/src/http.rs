//! A client of HTTP that does no more than it is told to.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::{
    fail::{OrFail as _, patience},
    netns::Netns,
};

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// The lines of its header, names in lower case.
    pub header: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.header.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Reads an answer up to the end of the connection.
    ///
    /// # Errors
    ///
    /// When the connection ends otherwise, or before the whole answer was there.
    pub fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Self::parse(&String::from_utf8_lossy(&bytes))
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not whole"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (header, body) = text.split_once("\r\n\r\n")?;
        let mut lines = header.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(": "));
        let header = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let answer = Self { status, header, body: body.to_owned() };
        // Without a length the end of the connection is the end of the body (RFC 9112, 6.3).
        let length = answer.field("content-length").map(str::parse);
        length.is_none_or(|length| length == Ok(answer.body.len())).then_some(answer)
    }
}

/// A connection from within `ns`, on which no wait is longer than [`patience`].
#[track_caller]
pub fn client(ns: &Netns, address: SocketAddr) -> TcpStream {
    let stream = ns.enter(|| TcpStream::connect(address)).or_fail(format!("connect to {address}"));
    be_patient(&stream);
    stream
}

/// A connection that has hardly any room for what it is sent.
#[track_caller]
pub fn narrow_client(ns: &Netns, address: SocketAddr) -> TcpStream {
    let stream = ns.enter(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let socket = socket.or_fail("make a socket");
        setsockopt(&socket, sockopt::RcvBuf, &1).or_fail("make a small receive buffer");
        let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
        connect(raw, &SockaddrStorage::from(address)).or_fail(format!("connect to {address}"));
        TcpStream::from(socket)
    });
    be_patient(&stream);
    stream
}

fn be_patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(patience())).or_fail("limit the time of a read");
    stream.set_write_timeout(Some(patience())).or_fail("limit the time of a write");
}

/// The answer to `METHOD PATH` from within `ns`, on a connection for this alone.
///
/// # Errors
///
/// When the connection ends before the whole answer was there.
pub fn ask(ns: &Netns, address: SocketAddr, request: &str) -> io::Result<Answer> {
    ask_in(ns, address, &format!("{request} HTTP/1.1"))
}

/// As [`ask`], in HTTP/1.0: no server answers that in chunks.
///
/// # Errors
///
/// As [`ask`].
pub fn ask_simply(ns: &Netns, address: SocketAddr, request: &str) -> io::Result<Answer> {
    ask_in(ns, address, &format!("{request} HTTP/1.0"))
}

fn ask_in(ns: &Netns, address: SocketAddr, line: &str) -> io::Result<Answer> {
    let mut stream = ns.enter(|| TcpStream::connect(address))?;
    be_patient(&stream);
    stream.write_all(format!("{line}\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    Answer::read(&mut stream)
}

/// The body of `GET PATH`, which must be there.
#[track_caller]
pub fn get(ns: &Netns, address: SocketAddr, path: &str) -> String {
    let answer = ask(ns, address, &format!("GET {path}")).or_fail(format!("get {path} from {address}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}
