//! Answers as no good kernel gives them: each is asked for again, or told of.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::BufMut;
use netlink_packet_route::{RouteNetlinkMessage, nsid::NsidMessage};
use netlink_sys::{AsyncSocket, Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::kernel::netlink::{DUMP_TRIES, Netlink};

const MULTIPART: u16 = 2;

const INTERRUPTED: u16 = 0x10;

const DONE: u16 = 3;

const ERROR: u16 = 2;

const NEW_NSID: u16 = libc::RTM_NEWNSID;

/// A kernel that answers each request with the next of these lists of datagrams.
struct Kernel {
    socket: Socket,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    scripts: VecDeque<Vec<Datagram>>,
    asked: usize,
    waiting: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

/// A datagram for a request with this sequence number.
type Datagram = Box<dyn Fn(u32) -> Vec<u8> + Send>;

impl AsyncSocket for Kernel {
    fn socket_ref(&self) -> &Socket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn new(_: isize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn poll_send(&self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_send_to(&self, _: &mut Context<'_>, request: &[u8], _: &SocketAddr) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        let sequence = u32::from_ne_bytes(request[8..12].try_into().unwrap());
        let script = state.scripts.pop_front().unwrap_or_default();
        state.waiting.extend(script.iter().map(|datagram| datagram(sequence)));
        state.waker.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(request.len()))
    }

    fn poll_recv<B: BufMut>(&self, context: &mut Context<'_>, buffer: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(context, buffer).map(|received| received.map(drop))
    }

    fn poll_recv_from<B: BufMut>(
        &self,
        context: &mut Context<'_>,
        buffer: &mut B,
    ) -> Poll<io::Result<SocketAddr>> {
        let mut state = self.state.lock().unwrap();
        match state.waiting.pop_front() {
            Some(datagram) => {
                buffer.put_slice(&datagram);
                Poll::Ready(Ok(SocketAddr::new(0, 0)))
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_recv_from_full(&self, _: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let len = (16 + body.len()) as u32;
    [
        &len.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        body,
    ]
    .concat()
}

fn object(sequence: u32, flags: u16) -> Vec<u8> {
    message(NEW_NSID, MULTIPART | flags, sequence, &[0; 4])
}

fn done(sequence: u32, code: i32, flags: u16) -> Vec<u8> {
    message(DONE, MULTIPART | flags, sequence, &code.to_ne_bytes())
}

fn whole() -> Vec<Datagram> {
    vec![
        Box::new(|sequence| [object(sequence, 0), object(sequence, 0)].concat()),
        Box::new(|sequence| done(sequence, 0, 0)),
    ]
}

fn interrupted() -> Vec<Datagram> {
    vec![
        Box::new(|sequence| object(sequence, INTERRUPTED)),
        Box::new(|sequence| done(sequence, 0, INTERRUPTED)),
    ]
}

/// The second object lacks its end.
fn cut_off() -> Vec<Datagram> {
    let cut = |sequence| {
        let mut both = [object(sequence, 0), object(sequence, 0)].concat();
        both.truncate(both.len() - 2);
        both
    };
    vec![Box::new(cut), Box::new(|sequence| done(sequence, 0, 0))]
}

fn ask(scripts: Vec<Vec<Datagram>>) -> (anyhow::Result<usize>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = Arc::new(Mutex::new(State { scripts: scripts.into(), ..State::default() }));
        let kernel = Kernel { socket: Socket::new(NETLINK_ROUTE).unwrap(), state: Arc::clone(&state) };
        let netlink = Netlink::over(kernel);
        let objects = netlink.dump(RouteNetlinkMessage::GetNsId(NsidMessage::default())).await;
        let asked = state.lock().unwrap().asked;
        (objects.map(|objects| objects.len()), asked)
    })
}

#[track_caller]
fn told(scripts: Vec<Vec<Datagram>>) -> String {
    format!("{:#}", ask(scripts).0.unwrap_err())
}

#[test]
fn a_whole_answer_is_taken_at_once() {
    let (objects, asked) = ask(vec![whole()]);
    assert_eq!((objects.unwrap(), asked), (2, 1));
}

#[test]
fn an_answer_that_is_interrupted_or_cut_off_is_asked_for_again() {
    let (objects, asked) = ask(vec![interrupted(), cut_off(), whole()]);
    assert_eq!((objects.unwrap(), asked), (2, 3));
}

#[test]
fn one_that_never_is_whole_is_told_of() {
    let always = |script: fn() -> Vec<Datagram>| (0..DUMP_TRIES).map(|_| script()).collect();
    assert!(told(always(interrupted)).contains("kept changing"));
    assert!(told(always(cut_off)).contains("cut off"));
}

#[test]
fn an_error_at_the_end_is_an_error() {
    let late = vec![
        Box::new(|sequence| object(sequence, 0)) as Datagram,
        Box::new(|sequence| done(sequence, -libc::ENOMEM, 0)),
    ];
    assert!(told(vec![late]).to_lowercase().contains("out of memory"));
    let refused: Datagram = Box::new(|sequence| {
        message(ERROR, 0, sequence, &[&(-libc::EPERM).to_ne_bytes()[..], &[0; 16]].concat())
    });
    assert!(told(vec![vec![refused]]).contains("operation not permitted"));
}

#[test]
fn no_answer_or_one_without_an_end_is_not_waited_for_forever() {
    assert!(told(vec![Vec::new()]).contains("no answer"));
    assert!(told(vec![vec![Box::new(|sequence| object(sequence, 0))]]).contains("no answer"));
    // A header that is cut cannot even be told whose it is.
    assert!(told(vec![vec![Box::new(|sequence| object(sequence, 0)[..9].to_vec())]]).contains("no answer"));
}

#[test]
fn garbage_before_the_answer_changes_nothing() {
    let mut script = whole();
    script.insert(0, Box::new(|_| vec![0xff; 64]));
    script.insert(0, Box::new(|_| object(0xdead, 0)));
    assert_eq!(ask(vec![script]).0.unwrap(), 2);
}
