//! What all of these programs are, and do with a frame.

use std::{io, os::fd::BorrowedFd};

use crate::lab::frames::ETH_HLEN;

/// Frames that a program takes or sends at a time.
pub const BATCH: usize = 64;

/// Bytes that a frame of these measurements has room for.
pub const ROOM: usize = 2048;

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

/// Turns a UDP datagram into its answer, in place. Gives whether it was one.
pub fn turn_around(frame: &mut [u8]) -> bool {
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
pub fn failure() -> Option<io::Error> {
    let error = io::Error::last_os_error();
    let waits = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::EBUSY];
    (!error.raw_os_error().is_some_and(|errno| waits.contains(&errno))).then_some(error)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use macvlan_common::mac::Mac;

    use super::*;
    use crate::lab::frames::{Party, datagram};

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
