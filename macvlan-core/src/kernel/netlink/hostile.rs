//! Answers as no good kernel gives them: each is asked for again, or told of.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use netlink_packet_route::{RouteNetlinkMessage, nsid::NsidMessage};

use crate::kernel::netlink::{DUMP_TRIES, Netlink, exchange::Peer};

const MULTIPART: u16 = 2;

const INTERRUPTED: u16 = 0x10;

const DONE: u16 = 3;

const ERROR: u16 = 2;

const NEW_NSID: u16 = libc::RTM_NEWNSID;

/// A kernel that answers each request with the next of these lists of datagrams.
#[derive(Default)]
struct Scripted {
    scripts: VecDeque<Vec<Datagram>>,
    waiting: VecDeque<Vec<u8>>,
    /// Requests so far, whose number whoever made this sees.
    asked: Arc<AtomicUsize>,
}

/// A datagram for a request with this sequence number.
type Datagram = Box<dyn Fn(u32) -> Vec<u8> + Send>;

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a script")
    }
}

impl Peer for Scripted {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let sequence = u32::from_ne_bytes(request[8..12].try_into().unwrap());
        let script = self.scripts.pop_front().unwrap_or_default();
        self.waiting.extend(script.iter().map(|datagram| datagram(sequence)));
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(datagram.len())
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
    let kernel = Scripted { scripts: scripts.into(), ..Scripted::default() };
    let asked = Arc::clone(&kernel.asked);
    let netlink = Netlink::with(kernel);
    let objects = runtime.block_on(netlink.dump(RouteNetlinkMessage::GetNsId(NsidMessage::default())));
    (objects.map(|objects| objects.len()), asked.load(Ordering::Relaxed))
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
fn what_is_left_of_one_answer_is_not_taken_for_the_next() {
    // The second try finds what the first, which was cut off, has not read.
    let mut cut = cut_off();
    cut.extend(whole());
    assert_eq!(ask(vec![cut, whole()]).0.unwrap(), 2);
}

#[test]
fn changes_are_asked_for_together_and_answered_one_by_one() {
    let answers = |codes: &'static [(u32, i32)]| -> Vec<Datagram> {
        let answer = |(number, code): &(u32, i32)| -> Datagram {
            let (number, code) = (*number, *code);
            let body = move || [&code.to_ne_bytes()[..], &[0; 16]].concat();
            Box::new(move |first| message(ERROR, 0, first + number, &body()))
        };
        codes.iter().map(answer).collect()
    };
    let change = |scripts: Vec<Vec<Datagram>>, count: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kernel = Scripted { scripts: scripts.into(), ..Scripted::default() };
        let asked = Arc::clone(&kernel.asked);
        let netlink = Netlink::with(kernel);
        let requests = (0..count).map(|_| (RouteNetlinkMessage::NewNsId(NsidMessage::default()), 0));
        let answers = runtime.block_on(netlink.change_all(requests.collect()));
        let told = answers.into_iter().map(|answer| answer.map_err(|error| error.to_string()));
        (told.collect::<Vec<_>>(), asked.load(Ordering::Relaxed))
    };
    let (told, asked) = change(vec![answers(&[(0, 0), (2, 0), (1, -libc::EPERM)])], 3);
    assert_eq!(asked, 1);
    assert!(told[0].is_ok() && told[2].is_ok(), "{told:?}");
    assert!(told[1].as_ref().unwrap_err().to_lowercase().contains("not permitted"), "{told:?}");
    let (told, _) = change(vec![answers(&[(1, 0)])], 3);
    let unknown = "the kernel gives no answer".to_owned();
    assert_eq!(told, [Err(unknown.clone()), Ok(()), Err(unknown)]);
    // After a refusal no further window is asked for.
    let (told, asked) = change(vec![answers(&[(0, -libc::EPERM)])], 200);
    assert_eq!((told.len(), asked), (super::WINDOW, 1));
}

#[test]
fn garbage_before_the_answer_changes_nothing() {
    let mut script = whole();
    script.insert(0, Box::new(|_| vec![0xff; 64]));
    script.insert(0, Box::new(|_| object(0xdead, 0)));
    assert_eq!(ask(vec![script]).0.unwrap(), 2);
}
