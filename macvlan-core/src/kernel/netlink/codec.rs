//! Datagrams into messages, so that nothing is lost in silence: whoever asked must not take the rest of what
//! was cut off for the whole.

use std::mem;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

use crate::kernel::netlink::legible::make_legible;

/// What is said over route netlink.
pub type Message = NetlinkMessage<RouteNetlinkMessage>;

/// Bytes of the header of a message (`struct nlmsghdr`).
const HEADER: usize = 16;

/// The messages of a datagram. One that is cut off, or whose length makes no sense, is given as
/// [`NetlinkPayload::Overrun`].
///
/// Names may hold any byte, and whoever owns a device gives it names: a device whose name or alias is no UTF-8
/// is read with a `?` for each byte that is in the way ([`make_legible`]).
pub fn messages(mut datagram: &mut [u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let Some(len) = whole_message(datagram) else {
            messages.push(NetlinkMessage::new(header_of_cut(datagram), NetlinkPayload::Overrun(Vec::new())));
            break;
        };
        let padded = len.next_multiple_of(4).min(datagram.len());
        let (message, rest) = mem::take(&mut datagram).split_at_mut(padded);
        datagram = rest;
        let message = &mut message[..len];
        let decoded = NetlinkMessage::deserialize(message).or_else(|error| {
            if make_legible(message) { NetlinkMessage::deserialize(message) } else { Err(error) }
        });
        match decoded {
            Ok(message) => messages.push(message),
            // An object of a kind that only a later kernel has is none that we are after.
            Err(error) => log::debug!("passing over a netlink message that makes no sense: {error}"),
        }
    }
    messages
}

/// The length of the first message, if all of it is there.
fn whole_message(datagram: &[u8]) -> Option<usize> {
    let len = u32_at(datagram, 0)? as usize;
    (HEADER..=datagram.len()).contains(&len).then_some(len)
}

/// What is left of a header: enough to tell whose answer it was, where that is there.
fn header_of_cut(datagram: &[u8]) -> NetlinkHeader {
    let mut header = NetlinkHeader::default();
    header.sequence_number = u32_at(datagram, 8).unwrap_or_default();
    header.port_number = u32_at(datagram, 12).unwrap_or_default();
    header
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(mut datagram: Vec<u8>) {
            let most = datagram.len();
            prop_assert!(messages(&mut datagram).len() <= most);
        }
    }
}
