//! Route netlink: one request at a time, kernel reasons kept, interrupted dumps repeated.

pub(crate) mod address;
pub(crate) mod clsact;
mod codec;
pub(crate) mod events;
mod fdb;
pub mod holdings;
#[cfg(test)]
mod hostile;
pub mod ipnet;
pub mod kind;
pub mod link;
pub mod macvlan;
mod neighbour;
mod nsid;
pub(crate) mod route;
pub(crate) mod shim;
pub(crate) mod sockets;

use std::{
    fmt, io,
    os::fd::{FromRawFd, IntoRawFd},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{Stream, StreamExt as _, future::join_all};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, Socket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rtnetlink::proto::{ConnectionHandle, from_socket_with_codec};
use tokio::time::timeout;

use crate::kernel::{crash, errno::errno, netlink::codec::CheckedCodec, netns::Netns};

/// How often an interrupted dump is begun anew, and how long to wait before: it doubles each time.
const DUMP_TRIES: u32 = 12;

const DUMP_PAUSE: Duration = Duration::from_micros(250);

/// How many requests are under way at once: their answers fit a socket's smallest usual buffer
/// (`net.core.rmem_default`), some 1 KiB each.
const WINDOW: usize = 64;

/// How long the kernel may take for one message: far longer than it does.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(60) };

/// A route netlink socket in one network namespace.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: ConnectionHandle<RouteNetlinkMessage>,
}

/// What the kernel answered to a refused request.
#[derive(Debug)]
pub struct KernelError {
    /// The error number.
    pub errno: nix::errno::Errno,
    /// What the kernel says of it (extended acknowledgement), where it does.
    pub message: Option<String>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno as i32);
        match &self.message {
            Some(message) => write!(f, "{} ({message})", errno(&error)),
            None => f.write_str(&errno(&error)),
        }
    }
}

impl std::error::Error for KernelError {}

impl Netlink {
    /// A socket in the namespace of the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open() -> Result<Self> {
        Self::from_socket(new_socket().context("cannot open a netlink socket")?)
    }

    /// A socket in the namespace of the calling thread whose dumps heed every filter of the request:
    /// addresses of another namespace are given to no other (`inet_valid_dump_ifaddr_req`).
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open_strict() -> Result<Self> {
        let strict = || -> io::Result<Socket> {
            let socket = new_socket()?;
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        Self::from_socket(strict().context("cannot open a netlink socket")?)
    }

    /// A socket in another namespace. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        let socket = netns.run(|| new_socket().context("cannot open a netlink socket"))?;
        Self::from_socket(socket)
    }

    fn from_socket(socket: Socket) -> Result<Self> {
        // SAFETY: the descriptor was just given up by its only owner.
        let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        Ok(Self::over(socket))
    }

    fn over<S: AsyncSocket + Send + 'static>(socket: S) -> Self {
        let (mut connection, handle, _) = from_socket_with_codec::<_, _, CheckedCodec>(socket);
        // An answer that does not end so is no whole answer.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Self { handle }
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses.
    pub async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        crash::before("a netlink request")?;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.request(request, kernel())?;
        loop {
            match next(&mut answers).await? {
                NetlinkPayload::Error(error) => {
                    crash::stop("a netlink request");
                    return check(&error);
                }
                NetlinkPayload::Overrun(_) => bail!("{CUT_OFF}"),
                _ => {}
            }
        }
    }

    /// Makes many requests that change something, in this order, without waiting for the answer to one
    /// before the next is sent. Gives the answers in the same order; after a window in which one was
    /// refused, no more is asked, and the rest have none.
    pub async fn change_all(&self, requests: Vec<(RouteNetlinkMessage, u16)>) -> Vec<Result<()>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() && answers.iter().all(Result::is_ok) {
            let window = requests.by_ref().take(WINDOW);
            answers.extend(join_all(window.map(|(message, flags)| self.change(message, flags))).await);
        }
        answers
    }

    /// Asks for one object.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses.
    pub async fn get(&self, message: RouteNetlinkMessage) -> Result<Option<RouteNetlinkMessage>> {
        crash::before("asking for an object")?;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST;
        let mut answers = self.handle.request(request, kernel())?;
        match next(&mut answers).await? {
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            NetlinkPayload::Error(error) => check(&error).map(|()| None),
            NetlinkPayload::Overrun(_) => bail!("{CUT_OFF}"),
            _ => Ok(None),
        }
    }

    /// Asks for every object of a kind.
    ///
    /// The kernel marks an answer during which the objects changed (`NLM_F_DUMP_INTR`): such a
    /// dump may miss or repeat objects, so it is begun anew. So is one that is cut off.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses, or when every try was interrupted or cut off.
    pub async fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        crash::before("asking for all objects")?;
        let mut trouble = CUT_OFF;
        for attempt in 0..DUMP_TRIES {
            if attempt > 0 {
                tokio::time::sleep(DUMP_PAUSE * (1 << attempt)).await;
            }
            let mut request = NetlinkMessage::from(message.clone());
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut answers = self.handle.request(request, kernel())?;
            match whole(&mut answers).await? {
                Dump::Whole(objects) => return Ok(objects),
                Dump::Interrupted => {
                    trouble = "the kernel's tables kept changing while they were read: try again";
                }
                Dump::CutOff => trouble = CUT_OFF,
            }
        }
        bail!("{trouble}")
    }
}

/// What came of one try to read every object.
enum Dump {
    Whole(Vec<RouteNetlinkMessage>),
    Interrupted,
    CutOff,
}

const CUT_OFF: &str = "the kernel's answer was cut off: try again";

type Answers<'a> = &'a mut (dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin + Send);

async fn whole(answers: Answers<'_>) -> Result<Dump> {
    let (mut objects, mut interrupted) = (Vec::new(), false);
    loop {
        let answer = within_patience(answers).await?;
        interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(object) => objects.push(object),
            NetlinkPayload::Error(error) => check(&error)?,
            NetlinkPayload::Overrun(_) => return Ok(Dump::CutOff),
            // `netlink_dump_done` in net/netlink/af_netlink.c: an error may come only now.
            NetlinkPayload::Done(done) if done.code < 0 => return Err(refusal(done.code, None)),
            NetlinkPayload::Done(_) if interrupted => return Ok(Dump::Interrupted),
            NetlinkPayload::Done(_) => return Ok(Dump::Whole(objects)),
            _ => {}
        }
    }
}

async fn next(answers: Answers<'_>) -> Result<NetlinkPayload<RouteNetlinkMessage>> {
    Ok(within_patience(answers).await?.payload)
}

/// The next message. The kernel answers at once or, with the RTNL taken by others, soon.
async fn within_patience(answers: Answers<'_>) -> Result<NetlinkMessage<RouteNetlinkMessage>> {
    let answer = timeout(PATIENCE, answers.next()).await;
    answer.context("the kernel gives no answer")?.context("the kernel gave no whole answer")
}

/// Where requests go.
fn kernel() -> SocketAddr {
    SocketAddr::new(0, 0)
}

fn new_socket() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    // Both only make errors clearer: a kernel without them is as good.
    let _ = socket.set_cap_ack(true);
    let _ = socket.set_ext_ack(true);
    Ok(socket)
}

fn check(error: &ErrorMessage) -> Result<()> {
    match error.raw_code() {
        0 => Ok(()),
        code => Err(refusal(code, extended_ack(&error.header))),
    }
}

fn refusal(code: i32, message: Option<String>) -> anyhow::Error {
    KernelError { errno: nix::errno::Errno::from_raw(code.saturating_abs()), message }.into()
}

/// The text of an extended acknowledgement: attributes behind the header of the refused request
/// (`NLMSGERR_ATTR_MSG`, `include/uapi/linux/netlink.h`).
fn extended_ack(payload: &[u8]) -> Option<String> {
    const REQUEST_HEADER: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut attributes = payload.get(REQUEST_HEADER..)?;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]])).checked_sub(4)?;
        let value = rest.get(..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) == NLMSGERR_ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// The errno in `error`'s chain, where the kernel gave one.
pub fn kernel_errno(error: &anyhow::Error) -> Option<nix::errno::Errno> {
    error.downcast_ref::<KernelError>().map(|error| error.errno)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_own_words_are_found() {
        let mut payload = vec![0; 16];
        payload.extend([8, 0, 2, 0, 1, 2, 3, 4]); // another attribute first
        payload.extend([11, 0, 1, 0]);
        payload.extend(b"no way\0\0");
        assert_eq!(extended_ack(&payload).as_deref(), Some("no way"));
    }

    proptest! {
        #[test]
        fn any_acknowledgement_is_read_without_a_panic(payload: Vec<u8>) {
            let _ = extended_ack(&payload);
        }
    }
}
