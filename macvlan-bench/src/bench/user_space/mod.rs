//! Programs that process frames themselves: each way for one to read the frames of a child and to send as that child.

mod packet;
mod rings;
mod station;
mod tap;
mod udp;
mod xsk;

use std::{io, os::fd::BorrowedFd};

use anyhow::Result;
use macvlan_core::kernel::netlink::kind::Kind;

use crate::lab::frames::ETH_HLEN;

pub use station::Station;

/// Frames that a program takes or sends at a time.
const BATCH: usize = 64;

/// Bytes that a frame of these measurements has room for.
const ROOM: usize = 2048;

/// A program with a descriptor that it may wait on.
pub trait Program: Send {
    /// Takes what is there, and answers it where it should. Gives how many frames that were.
    ///
    /// # Errors
    ///
    /// Its descriptor is of no use any more.
    fn take(&mut self, answers: bool) -> io::Result<usize>;

    /// Sends some frames to the wire.
    ///
    /// # Errors
    ///
    /// As above.
    fn send(&mut self) -> io::Result<()>;

    /// What becomes readable when a frame is there.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

/// A way to read a child's frames.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// What the child is.
    pub kind: Kind,
    /// The program never sleeps.
    pub spins: bool,
    /// Ours: a port, with native XDP on the master.
    pub is_ours: bool,
    open: fn(&Station) -> Result<Box<dyn Program>>,
}

/// Whom the others are compared with.
pub const UDP: &str = "udp-socket";

/// All of them.
pub const WAYS: [Way; 7] = [
    Way {
        name: "xsk-port",
        title: "AF_XDP on a port",
        kind: Kind::Port,
        spins: false,
        is_ours: true,
        open: xsk::open,
    },
    Way {
        name: "xsk-port-spin",
        title: "AF_XDP on a port, spinning",
        kind: Kind::Port,
        spins: true,
        is_ours: true,
        open: xsk::open,
    },
    Way {
        name: UDP,
        title: "UDP socket on a macvlan",
        kind: Kind::Macvlan,
        spins: false,
        is_ours: false,
        open: udp::open,
    },
    Way {
        name: "af-packet",
        title: "AF_PACKET v3 on a macvlan",
        kind: Kind::Macvlan,
        spins: false,
        is_ours: false,
        open: packet::open,
    },
    Way {
        name: "macvtap",
        title: "macvtap, read and write",
        kind: Kind::Macvtap,
        spins: false,
        is_ours: false,
        open: tap::open,
    },
    Way {
        name: "xsk-macvlan",
        title: "AF_XDP on a macvlan",
        kind: Kind::Macvlan,
        spins: false,
        is_ours: false,
        open: xsk::open,
    },
    Way {
        name: "xsk-macvlan-spin",
        title: "AF_XDP on a macvlan, spinning",
        kind: Kind::Macvlan,
        spins: true,
        is_ours: false,
        open: xsk::open,
    },
];

impl Way {
    /// Begins the program at this station.
    ///
    /// # Errors
    ///
    /// The kernel lacks what it needs.
    pub fn open(&self, station: &Station) -> Result<Box<dyn Program>> {
        (self.open)(station)
    }
}

/// Turns a UDP datagram into its answer, in place. Gives whether it was one.
fn turn_around(frame: &mut [u8]) -> bool {
    const IPV4: [u8; 2] = [8, 0];
    let Some((ethernet, packet)) = frame.split_at_mut_checked(ETH_HLEN) else { return false };
    if ethernet[12..] != IPV4 || packet.len() < udp_end() {
        return false;
    }
    ethernet[..12].rotate_left(6);
    // Addresses, then ports.
    packet[12..20].rotate_left(4);
    packet[20..24].rotate_left(2);
    true
}

/// Where the payload of a datagram begins behind the Ethernet header.
const fn udp_end() -> usize {
    20 + 8
}

/// The error of a call that gave a negative number; `None` where it would only have waited.
fn failure() -> Option<io::Error> {
    let error = io::Error::last_os_error();
    let waits = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::EBUSY];
    (!error.raw_os_error().is_some_and(|errno| waits.contains(&errno))).then_some(error)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use macvlan_common::mac::Mac;

    use super::*;
    use crate::lab::frames::{Party, datagram};

    #[test]
    fn names_are_unique_and_the_base_takes_part() {
        let names: BTreeSet<&str> = WAYS.iter().map(|way| way.name).collect();
        assert!(names.len() == WAYS.len() && names.contains(UDP));
    }

    #[test]
    fn a_datagram_is_turned_around() {
        let party =
            |last| Party { mac: Mac::new([2, 0, 0, 0, 0, last]), address: Ipv4Addr::new(10, 0, 0, last) };
        let mut there = datagram(party(1), party(2)).unwrap();
        let back = datagram(party(2), party(1)).unwrap();
        assert!(turn_around(&mut there));
        assert_eq!(there[..34], back[..34]);
        assert!(!turn_around(&mut [0; 60]) && !turn_around(&mut [0; 13]) && !turn_around(&mut there[..40]));
    }
}
