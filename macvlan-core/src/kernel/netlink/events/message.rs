//! What the messages of a datagram tell.

use crate::kernel::netlink::events::{
    bytes::{i32_at, u16_at, u32_at},
    changed::{DeviceKey, Events},
};

/// Bytes of the header of a netlink message (`struct nlmsghdr`).
const MESSAGE_HEADER: usize = 16;

/// Bytes of `struct ifinfomsg`, before its attributes.
const LINK_HEADER: usize = 16;

impl Events {
    /// Adds the messages of one datagram.
    pub(crate) fn add(&mut self, mut datagram: &[u8], nsid: Option<i32>) {
        while !datagram.is_empty() {
            self.count += 1;
            let len = u32_at(datagram, 0).map_or(0, |len| len as usize);
            let (Some(kind), Some(body)) = (u16_at(datagram, 4), datagram.get(MESSAGE_HEADER..len)) else {
                self.malformed += 1;
                return;
            };
            if self.add_message(kind, body, nsid).is_none() {
                self.malformed += 1;
            }
            datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn add_message(&mut self, kind: u16, body: &[u8], nsid: Option<i32>) -> Option<()> {
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                // A bridge tells of its ports under its own family: no device came or went.
                if *body.first()? != libc::AF_UNSPEC as u8 {
                    return Some(());
                }
                let key = (nsid, u32_at(body, 4)?);
                if nsid.is_none() && kind == libc::RTM_NEWLINK {
                    self.announced.push(key.1);
                }
                if kind == libc::RTM_DELLINK {
                    self.deleted.insert(key);
                }
                if kind == libc::RTM_DELLINK
                    && let Some(destination) = destination(body.get(LINK_HEADER..)?)
                {
                    self.moved.push((key, destination));
                }
                self.devices.insert(key);
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                self.addresses.insert((nsid, u32_at(body, 4)?));
            }
            // What other namespaces number is theirs.
            libc::RTM_NEWNSID | libc::RTM_DELNSID if nsid.is_none() => {
                const NETNSA_NSID: u16 = 1;
                const GENERIC_HEADER: usize = 4;
                let id = attribute(body.get(GENERIC_HEADER..)?, NETNSA_NSID);
                let id = id.and_then(|value| i32_at(value, 0)).filter(|id| *id >= 0)?;
                if kind == libc::RTM_NEWNSID {
                    self.numbered.insert(id);
                } else {
                    self.gone.insert(id);
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// Where a device went that left its namespace alive (`dev_change_net_namespace`), as that namespace
/// numbers.
fn destination(attributes: &[u8]) -> Option<DeviceKey> {
    const IFLA_NEW_NETNSID: u16 = 45;
    const IFLA_NEW_IFINDEX: u16 = 49;
    let nsid = attribute(attributes, IFLA_NEW_NETNSID).and_then(|value| i32_at(value, 0))?;
    let index = attribute(attributes, IFLA_NEW_IFINDEX).and_then(|value| u32_at(value, 0))?;
    (nsid >= 0).then_some((Some(nsid), index))
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const HEADER: usize = 4;
    const KIND: u16 = 0x3fff;
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let kind = u16_at(attributes, 2)? & KIND;
        let value = attributes.get(HEADER..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn attribute_of(kind: u16, value: u32) -> Vec<u8> {
        [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = (MESSAGE_HEADER + body.len()) as u32;
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
    }

    fn link(family: u8, index: u32, attributes: &[u8]) -> Vec<u8> {
        [&[family, 0, 0, 0][..], &index.to_ne_bytes(), &[0; 8], attributes].concat()
    }

    #[test]
    fn devices_are_told_by_namespace_and_index() {
        let mut events = Events::default();
        let both =
            [message(libc::RTM_NEWLINK, &link(0, 7, &[])), message(libc::RTM_DELLINK, &link(0, 8, &[]))];
        events.add(&both.concat(), None);
        events.add(&message(libc::RTM_NEWLINK, &link(0, 7, &[])), Some(3));
        assert_eq!(events.devices, BTreeSet::from([(None, 7), (None, 8), (Some(3), 7)]));
        assert_eq!(events.deleted, BTreeSet::from([(None, 8)]));
        assert_eq!(events.announced, [7]);
        assert_eq!((events.count, events.malformed), (3, 0));
    }

    #[test]
    fn a_bridges_word_of_its_port_is_no_change_of_the_device() {
        let mut events = Events::default();
        events.add(&message(libc::RTM_DELLINK, &link(libc::AF_BRIDGE as u8, 7, &[])), None);
        assert!(events.devices.is_empty());
    }

    #[test]
    fn a_device_that_moves_says_where_to() {
        let attributes = [attribute_of(45, 9), attribute_of(49, 2)].concat();
        let mut events = Events::default();
        events.add(&message(libc::RTM_DELLINK, &link(0, 7, &attributes)), None);
        events.add(&message(libc::RTM_DELLINK, &link(0, 7, &attributes)), Some(3));
        assert_eq!(events.moved, [((None, 7), (Some(9), 2)), ((Some(3), 7), (Some(9), 2))]);
    }

    #[test]
    fn namespaces_come_and_go_by_their_ids() {
        let body = |id| [&[0; 4][..], &attribute_of(1, id)].concat();
        let mut events = Events::default();
        events.add(&message(libc::RTM_NEWNSID, &body(4)), None);
        events.add(&message(libc::RTM_DELNSID, &body(5)), None);
        events.add(&message(libc::RTM_DELNSID, &body(6)), Some(1));
        assert_eq!((events.numbered, events.gone), (BTreeSet::from([4]), BTreeSet::from([5])));
    }

    #[test]
    fn a_cut_message_is_counted_as_malformed() {
        let whole = message(libc::RTM_NEWLINK, &link(0, 7, &[]));
        let mut events = Events::default();
        events.add(&whole[..20], None);
        assert_eq!((events.malformed, events.devices.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(datagram: Vec<u8>, nsid: Option<i32>) {
            Events::default().add(&datagram, nsid);
        }
    }
}
