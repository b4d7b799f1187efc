//! Datagrams into messages, so that nothing is lost in silence: the usual codec throws away what is cut
//! off, and whoever asked takes the rest for the whole.

use std::{fmt::Debug, io};

use bytes::BytesMut;
use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rtnetlink::proto::{NetlinkCodec, NetlinkMessageCodec};

/// Bytes of the header of a message (`struct nlmsghdr`).
const HEADER: usize = 16;

/// Gives a message that is cut off, or whose length makes no sense, as [`NetlinkPayload::Overrun`] to
/// whoever asked.
pub struct CheckedCodec;

impl NetlinkMessageCodec for CheckedCodec {
    fn decode<T>(datagram: &mut BytesMut) -> io::Result<Option<NetlinkMessage<T>>>
    where
        T: NetlinkDeserializable + Debug,
    {
        while !datagram.is_empty() {
            let Some(len) = whole_message(datagram) else {
                let header = header_of_cut(datagram);
                datagram.clear();
                return Ok(Some(NetlinkMessage::new(header, NetlinkPayload::Overrun(Vec::new()))));
            };
            let padded = len.next_multiple_of(4).min(datagram.len());
            let message = datagram.split_to(padded);
            match NetlinkMessage::deserialize(message.get(..len).unwrap_or_default()) {
                Ok(message) => return Ok(Some(message)),
                // An object of a kind that only a later kernel has is none that we are after.
                Err(error) => log::debug!("passing over a netlink message that makes no sense: {error}"),
            }
        }
        Ok(None)
    }

    fn encode<T>(message: NetlinkMessage<T>, buffer: &mut BytesMut) -> io::Result<()>
    where
        T: NetlinkSerializable + Debug,
    {
        NetlinkCodec::encode(message, buffer)
    }
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
    use netlink_packet_route::RouteNetlinkMessage;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(bytes: Vec<u8>) {
            let mut datagram = BytesMut::from(&bytes[..]);
            let mut messages = 0;
            while let Ok(Some(_)) = CheckedCodec::decode::<RouteNetlinkMessage>(&mut datagram) {
                messages += 1;
                prop_assert!(messages <= bytes.len());
            }
            prop_assert!(datagram.is_empty());
        }
    }
}
