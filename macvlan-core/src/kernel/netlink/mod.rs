//! Route netlink: kernel reasons kept, many requests in one system call, interrupted dumps repeated.

pub(crate) mod address;
pub(crate) mod clsact;
mod codec;
pub(crate) mod events;
mod exchange;
mod fdb;
pub(crate) mod flood;
pub mod holdings;
#[cfg(test)]
mod hostile;
pub mod ipnet;
pub mod kind;
mod legible;
pub mod link;
pub mod macvlan;
pub mod neighbour;
mod nsid;
pub(crate) mod port;
pub(crate) mod route;
pub(crate) mod shim;
pub(crate) mod sockets;

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use tokio::task::coop::consume_budget;

use crate::kernel::{
    crash,
    errno::errno,
    netlink::{
        codec::Message,
        exchange::{Exchange, Kernel, Peer},
    },
    netns::Netns,
};

/// How often an interrupted dump is begun anew, and how long to wait before: it doubles each time.
const DUMP_TRIES: u32 = 12;

const DUMP_PAUSE: Duration = Duration::from_micros(250);

/// How many requests go in one system call: their answers fit a socket's smallest usual buffer
/// (`net.core.rmem_default`), some 1 KiB each.
const WINDOW: usize = 64;

/// A route netlink socket in one network namespace.
///
/// Every call is over before another task runs, but for the pauses between tries of a dump. Many of them, one
/// after the other, let other tasks run in between.
#[derive(Debug, Clone)]
pub struct Netlink {
    exchange: Arc<Mutex<Exchange>>,
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
    /// A socket in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// No socket is left.
    pub fn open() -> Result<Self> {
        Self::over(false)
    }

    /// A socket in the namespace of the calling thread whose dumps heed every filter of the request:
    /// addresses of another namespace are given to no other (`inet_valid_dump_ifaddr_req`).
    ///
    /// # Errors
    ///
    /// No socket is left, or this kernel cannot be strict.
    pub fn open_strict() -> Result<Self> {
        Self::over(true)
    }

    /// A socket in another namespace.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or no socket is left.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        netns.run(Self::open)
    }

    fn over(strict: bool) -> Result<Self> {
        Ok(Self::with(Kernel::open(strict).context("cannot open a netlink socket")?))
    }

    fn with(peer: impl Peer + 'static) -> Self {
        Self { exchange: Arc::new(Mutex::new(Exchange::with(peer))) }
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        // Whoever panicked meanwhile left an answer unread, which the next request throws away.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the kernel refuses.
    pub async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.change_all(vec![(message, flags)]).await.pop().context("the kernel was not asked")?
    }

    /// Makes many requests that change something, in this order, a window of them in one system call. Gives the
    /// answers in the same order; after a window in which one was refused, no more is asked, and the rest have
    /// none.
    pub async fn change_all(&self, requests: Vec<(RouteNetlinkMessage, u16)>) -> Vec<Result<()>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() && answers.iter().all(Result::is_ok) {
            consume_budget().await;
            answers.extend(self.change_window(requests.by_ref().take(WINDOW)));
        }
        answers
    }

    fn change_window(&self, requests: impl Iterator<Item = (RouteNetlinkMessage, u16)>) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        let mut asked = Vec::new();
        for (message, flags) in requests {
            answers.push(crash::before("a netlink request"));
            if answers.last().is_some_and(Result::is_ok) {
                asked.push(request(message, NLM_F_ACK | flags));
            }
        }
        let mut told = acknowledgements(&mut self.exchange(), asked).into_iter();
        for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
            *answer = told.next().unwrap_or_else(|| Err(anyhow!(CUT_OFF)));
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
        consume_budget().await;
        let mut exchange = self.exchange();
        exchange.ask(vec![request(message, 0)])?;
        let (_, answer) = exchange.answer()?;
        exchange.finish();
        match answer.payload {
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
            consume_budget().await;
            match whole(&mut self.exchange(), request(message.clone(), NLM_F_DUMP))? {
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

fn request(message: RouteNetlinkMessage, flags: u16) -> Message {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request
}

/// Asks for changes, and gives what the kernel says of each, in the same order. After an answer that was lost
/// there may be none for the rest.
fn acknowledgements(exchange: &mut Exchange, requests: Vec<Message>) -> Vec<Result<()>> {
    let mut told: Vec<Option<Result<()>>> = requests.iter().map(|_| None).collect();
    let mut failed = exchange.ask(requests).err();
    while failed.is_none() && told.iter().any(Option::is_none) {
        match exchange.answer().map(|(number, answer)| (number, answer.payload)) {
            Ok((number, NetlinkPayload::Error(error))) => {
                crash::stop("a netlink request");
                told[number] = Some(check(&error));
            }
            Ok((_, NetlinkPayload::Overrun(_))) => failed = Some(anyhow!(CUT_OFF)),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    let Some(failed) = failed else {
        exchange.finish();
        return told.into_iter().flatten().collect();
    };
    // What is not known to be done may be done: each says so in the same words.
    told.into_iter().map(|one| one.unwrap_or_else(|| Err(anyhow!("{failed:#}")))).collect()
}

fn whole(exchange: &mut Exchange, request: Message) -> Result<Dump> {
    exchange.ask(vec![request])?;
    let (mut objects, mut interrupted) = (Vec::new(), false);
    loop {
        let (_, answer) = exchange.answer()?;
        interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(object) => objects.push(object),
            NetlinkPayload::Error(error) => {
                exchange.finish();
                check(&error)?;
            }
            NetlinkPayload::Overrun(_) => return Ok(Dump::CutOff),
            NetlinkPayload::Done(done) => {
                exchange.finish();
                return match done.code {
                    // `netlink_dump_done` in net/netlink/af_netlink.c: an error may come only now.
                    code if code < 0 => Err(refusal(code, None)),
                    _ if interrupted => Ok(Dump::Interrupted),
                    _ => Ok(Dump::Whole(objects)),
                };
            }
            _ => {}
        }
    }
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
