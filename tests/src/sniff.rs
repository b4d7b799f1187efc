//! Packet sockets: what a device carries, what a protocol behind it receives, and sending at will.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use crate::{
    fail::wait_for,
    frames::{Marker, VLAN},
    netns::Netns,
};

/// `PACKET_*` of `include/uapi/linux/if_packet.h`: whom the kernel takes a frame to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The device's own address.
    Host = 0,
    /// Broadcast.
    Broadcast = 1,
    /// Multicast.
    Multicast = 2,
    /// Somebody else: ARP, IPv4 and IPv6 ignore it.
    OtherHost = 3,
    /// Sent by this machine.
    Outgoing = 4,
}

impl Kind {
    fn from_kernel(number: u8) -> Self {
        match number {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            _ => panic!("packet type {number}, which is for the kernel's own use"),
        }
    }
}

/// One frame, as a packet socket saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whom it is for.
    pub kind: Kind,
    /// The VLAN tag that the kernel holds beside the frame: EtherType and tag.
    pub tag: Option<(u16, u16)>,
    /// The packet mark; 0 on a kernel that does not tell, see [`Tap::tells_marks`].
    pub mark: u32,
    /// The packet priority; 0 unless asked for with [`Tap::with_priority`].
    pub priority: u32,
    /// When it arrived, since 1970; `None` unless asked for with [`Tap::with_times`].
    pub arrived: Option<Duration>,
    /// The frame, without such a tag.
    pub data: Vec<u8>,
}

impl Seen {
    /// The frame as it is on a wire, the tag in its place.
    pub fn whole(&self) -> Vec<u8> {
        let mut whole = self.data.clone();
        if let Some((ethertype, tag)) = self.tag {
            let octets = [ethertype.to_be_bytes(), tag.to_be_bytes()].concat();
            whole.splice(ADDRESSES..ADDRESSES, octets);
        }
        whole
    }
}

/// A socket that sees frames of one device.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    tells_marks: bool,
    buffer: Vec<u8>,
    seen: Vec<Seen>,
}

/// Octets of the two MACs, which come before the tag.
const ADDRESSES: usize = 12;

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

/// A socket that sends frames as they are.
#[derive(Debug)]
pub struct Injector {
    fd: OwnedFd,
}

impl Injector {
    /// Sends out of `device`.
    pub fn new(ns: &Netns, device: &str) -> Self {
        Self { fd: packet_socket(ns, device, 0) }
    }

    /// Marks what it sends, as a container with CAP_NET_ADMIN may.
    pub fn with_mark(self, mark: u32) -> Self {
        self.set_mark(mark);
        self
    }

    /// Marks what it sends from now on.
    pub fn set_mark(&self, mark: u32) {
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_MARK, mark as libc::c_int);
    }

    /// Gives what it sends a priority.
    pub fn with_priority(self, priority: u32) -> Self {
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_PRIORITY, priority as libc::c_int);
        self
    }

    /// Hands frames to the driver past the device's queueing discipline and TC egress, as any
    /// container with CAP_NET_RAW may (packet(7), `PACKET_QDISC_BYPASS`).
    pub fn past_tc(self) -> Self {
        set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1);
        self
    }

    /// Sends one frame. That a program dropped it on its way out is no error here: the kernel tells
    /// the sender so (`ENOBUFS`), and tests count what arrives.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and the length are those of a live slice.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        let error = io::Error::last_os_error();
        let dropped = sent < 0 && error.raw_os_error() == Some(libc::ENOBUFS);
        let whole = sent == frame.len() as isize;
        assert!(whole || dropped, "cannot send a frame of {} octets: {error}", frame.len());
    }

    /// Sends the same frame several times.
    #[track_caller]
    pub fn send_times(&self, frame: &[u8], times: usize) {
        for _ in 0..times {
            self.send(frame);
        }
    }
}

impl AsFd for Injector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `include/uapi/asm-generic/socket.h`; not in every version of the libc crate.
const SO_RCVMARK: libc::c_int = 75;
pub(crate) const SO_RCVPRIORITY: libc::c_int = 82;

fn packet_socket(ns: &Netns, device: &str, protocol: u16) -> OwnedFd {
    let index = ns.ifindex(device);
    ns.enter(|| {
        // Protocol 0: sees nothing until it is bound.
        // SAFETY: takes and gives back integers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "cannot open a packet socket: {}", io::Error::last_os_error());
        // SAFETY: a descriptor just opened, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all-zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index as i32;
        let len = size_of_val(&address) as u32;
        // SAFETY: the pointer is to a live `sockaddr_ll` of that length.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert!(bound == 0, "cannot bind to {device}: {}", io::Error::last_os_error());
        fd
    })
}

fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let done = try_option(fd, level, option, value);
    done.unwrap_or_else(|error| panic!("cannot set socket option {level}/{option}: {error}"));
}

fn try_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of_val(&value) as u32;
    // SAFETY: the pointer is to a live integer of that length.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames that found the socket's buffer full since the last call.
fn lost(fd: &OwnedFd) -> u32 {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of_val(&stats) as u32;
    // SAFETY: the pointers are to a live structure and to its length.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    assert!(done == 0, "cannot read packet statistics: {}", io::Error::last_os_error());
    stats.tp_drops
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
