//! A client of `xsk serve`, message by message.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use macvlan_tests::{
    fail::{OrFail as _, PATIENCE},
    lab::Lab,
    xsk_server::SOCKET,
};
use nix::sys::{
    socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect,
        recvmsg, sendmsg, setsockopt, socket, sockopt::ReceiveTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The message; empty once it has hung up.
    pub message: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

impl Answer {
    /// The message as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.message).into_owned()
    }
}

/// A connection, as root.
#[derive(Debug)]
pub struct Client(OwnedFd);

impl Client {
    /// Connects.
    #[track_caller]
    pub fn new(lab: &Lab) -> Self {
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
        let client = client.or_fail("make a socket");
        let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
        setsockopt(&client, ReceiveTimeout, &patience).or_fail("set a time limit");
        let address = UnixAddr::new(SOCKET).or_fail("name the server");
        lab.mounts().enter(|| connect(client.as_raw_fd(), &address)).or_fail("connect");
        Self(client)
    }

    /// Sends a message, with these descriptors. That the server has hung up is no error here.
    pub fn send(&self, message: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let _ = sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(message)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
    }

    /// Waits for a message.
    #[track_caller]
    pub fn receive(&self) -> Answer {
        let (mut buffer, mut control) = ([0; 512], nix::cmsg_space!([RawFd; 4]));
        let mut room = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = match recvmsg::<()>(self.0.as_raw_fd(), &mut room, Some(&mut control), flags) {
            Err(nix::errno::Errno::ECONNRESET) => return Answer { message: vec![], descriptors: vec![] },
            got => got.or_fail("read an answer"),
        };
        let rights = got.cmsgs().or_fail("read what came with it").filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let owned = |fd| {
            // SAFETY: the kernel has just made this descriptor for us.
            unsafe { OwnedFd::from_raw_fd(fd) }
        };
        let descriptors = rights.flatten().map(owned).collect();
        let len = got.bytes;
        Answer { message: buffer[..len].to_vec(), descriptors }
    }

    /// Sends a request, and waits for its answer.
    #[track_caller]
    pub fn ask(&self, request: &str) -> Answer {
        self.send(request.as_bytes(), &[]);
        self.receive()
    }

    /// Whether the server hangs up.
    #[track_caller]
    pub fn is_hung_up_on(&self) -> bool {
        self.receive().message.is_empty()
    }
}
