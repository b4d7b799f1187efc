//! Seeing the frames of a device.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use crate::{
    fail::wait_for,
    frames::{Marker, VLAN},
    netns::Netns,
    sniff::{
        seen::{Kind, Seen},
        socket::{SO_RCVMARK, SO_RCVPRIORITY, lost, packet_socket, set_option, try_option},
    },
};

/// A socket that sees frames of one device.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    tells_marks: bool,
    buffer: Vec<u8>,
    seen: Vec<Seen>,
}

/// Large enough for a segmentation-offloaded frame.
const LARGEST_FRAME: usize = 256 << 10;

const RECEIVE_BUFFER: libc::c_int = 16 << 20;

impl Tap {
    /// Sees everything on `device`, before TC and macvlan on the way up, and what leaves.
    pub fn on_device(ns: &Netns, device: &str) -> Self {
        Self::open(ns, device, libc::ETH_P_ALL as u16)
    }

    /// Sees what a protocol with this EtherType receives on `device`: after TC and macvlan. One
    /// that [`Kind::OtherHost`] marks is ignored by ARP, IPv4 and IPv6.
    pub fn on_protocol(ns: &Netns, device: &str, ethertype: u16) -> Self {
        Self::open(ns, device, ethertype)
    }

    fn open(ns: &Netns, device: &str, protocol: u16) -> Self {
        let fd = packet_socket(ns, device, protocol);
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1);
        let tells_marks = match try_option(&fd, libc::SOL_SOCKET, SO_RCVMARK, 1) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => false,
            Err(error) => panic!("cannot ask for packet marks: {error}"),
        };
        Self { fd, tells_marks, buffer: vec![0; LARGEST_FRAME], seen: Vec::new() }
    }

    /// Whether the kernel tells the marks of packets (`SO_RCVMARK`, kernel 5.19).
    pub fn tells_marks(&self) -> bool {
        self.tells_marks
    }

    /// Reads priorities too, see [`crate::require::receive_priority`].
    pub fn with_priority(self) -> Self {
        set_option(&self.fd, libc::SOL_SOCKET, SO_RCVPRIORITY, 1);
        self
    }

    /// Reads times of arrival too.
    pub fn with_times(self) -> Self {
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        self
    }

    /// Everything seen so far.
    pub fn seen(&mut self) -> &[Seen] {
        while let Some(seen) = self.receive() {
            self.seen.push(seen);
        }
        assert_eq!(lost(&self.fd), 0, "frames were lost on the way to the test");
        &self.seen
    }

    /// Everything seen since the last call, which is then forgotten.
    pub fn take(&mut self) -> Vec<Seen> {
        self.seen();
        std::mem::take(&mut self.seen)
    }

    /// The frames with this marker, however the kernel classes them.
    pub fn marked(&mut self, marker: Marker) -> Vec<Seen> {
        self.seen().iter().filter(|seen| marker.is_in(&seen.data)).cloned().collect()
    }

    /// How many frames with this marker came in that a protocol would take.
    pub fn received(&mut self, marker: Marker) -> usize {
        let taken = |seen: &&Seen| matches!(seen.kind, Kind::Host | Kind::Broadcast | Kind::Multicast);
        self.marked(marker).iter().filter(taken).count()
    }

    /// How many frames with this marker came in, for whomever.
    pub fn came_in(&mut self, marker: Marker) -> usize {
        self.marked(marker).iter().filter(|seen| seen.kind != Kind::Outgoing).count()
    }

    /// Waits until at least `count` frames with this marker have come in.
    #[track_caller]
    pub fn wait_for(&mut self, marker: Marker, count: usize) {
        let mut came = 0;
        let arrived = || {
            came = self.came_in(marker);
            (came >= count).then_some(())
        };
        wait_for(format_args!("{count} marked frames"), arrived);
    }

    /// Waits until a frame comes in that `wanted` accepts.
    #[track_caller]
    pub fn wait_for_any(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        wait_for(what, || self.seen().iter().find(|seen| wanted(seen)).cloned())
    }

    fn receive(&mut self) -> Option<Seen> {
        // SAFETY: all-zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        // Words, so that the control messages in it are aligned.
        let mut control = [0_u64; 32];
        let mut part = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // SAFETY: all-zero is a valid `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` is to a live buffer of the length beside it.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(len) = usize::try_from(len) else {
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "cannot receive a frame: {error}");
            return None;
        };
        let data = self.buffer[..len].to_vec();
        let kind = Kind::from_kernel(address.sll_pkttype);
        let mut seen = Seen { kind, tag: None, mark: 0, priority: 0, arrived: None, data };
        read_control(&message, &mut seen);
        Some(seen)
    }
}

/// Takes VLAN tag and mark out of the control messages.
fn read_control(message: &libc::msghdr, seen: &mut Seen) {
    // SAFETY: `recvmsg` filled in `message`, whose control buffer is still there.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, so a header inside the control buffer.
        let header = unsafe { *next };
        // SAFETY: as above; the data follows the header.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: the kernel puts a `tpacket_auxdata` into this message.
                let auxdata = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                seen.tag = tag_of(&auxdata);
            }
            (libc::SOL_SOCKET, libc::SO_MARK) => {
                // SAFETY: the kernel puts 32 bits into this message.
                seen.mark = unsafe { data.cast::<u32>().read_unaligned() };
            }
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => {
                // SAFETY: the kernel puts 32 bits into this message.
                seen.priority = unsafe { data.cast::<u32>().read_unaligned() };
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel puts a `timespec` into this message.
                let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                seen.arrived = Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
            }
            _ => {}
        }
        // SAFETY: `next` is a header inside `message`.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

fn tag_of(auxdata: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_ethertype = auxdata.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((if has_ethertype { auxdata.tp_vlan_tpid } else { VLAN }, auxdata.tp_vlan_tci))
}
