//! Names of devices made UTF-8, as that is what messages are read as. A container chooses any bytes, and its
//! device must not go unseen for that.

use std::{ops::Range, str};

/// Bytes of the header of a message (`struct nlmsghdr`).
const HEADER: usize = 16;

/// Bytes of what comes before the attributes of a device (`struct ifinfomsg`).
const DEVICE: usize = 16;

/// Bytes of the header of an attribute (`struct nlattr`).
const ATTRIBUTE: usize = 4;

/// The bits of an attribute's type that are its type (`NLA_TYPE_MASK`).
const TYPE: u16 = 0x3fff;

/// Puts a `?` in the place of each byte of a device's name, alias or further name that is no UTF-8. Gives whether
/// there was one; of other messages than those about devices nothing is changed.
pub fn make_legible(message: &mut [u8]) -> bool {
    let is_device = matches!(u16_at(message, 4), Some(libc::RTM_NEWLINK | libc::RTM_DELLINK));
    let attributes = HEADER + DEVICE..message.len();
    is_device && make_names_legible(message, attributes)
}

fn make_names_legible(message: &mut [u8], attributes: Range<usize>) -> bool {
    let mut changed = false;
    let mut at = attributes.start;
    while let (Some(len), Some(kind)) = (u16_at(message, at), u16_at(message, at + 2)) {
        let end = at + usize::from(len);
        if usize::from(len) < ATTRIBUTE || end > attributes.end {
            break;
        }
        let value = at + ATTRIBUTE..end;
        changed |= match kind & TYPE {
            libc::IFLA_IFNAME | libc::IFLA_IFALIAS | libc::IFLA_ALT_IFNAME => {
                message.get_mut(value).is_some_and(make_text_legible)
            }
            libc::IFLA_PROP_LIST => make_names_legible(message, value),
            _ => false,
        };
        at = end.next_multiple_of(ATTRIBUTE);
    }
    changed
}

fn make_text_legible(text: &mut [u8]) -> bool {
    let mut changed = false;
    while let Err(error) = str::from_utf8(text) {
        let Some(byte) = text.get_mut(error.valid_up_to()) else { break };
        *byte = b'?';
        changed = true;
    }
    changed
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = (ATTRIBUTE + value.len()) as u16;
        let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(ATTRIBUTE), 0);
        bytes
    }

    fn device(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut message = vec![0; HEADER + DEVICE];
        message[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        message.extend(attributes.concat());
        message
    }

    #[test]
    fn only_what_is_no_utf8_is_changed() {
        let named = |name: &[u8], alias: &[u8], further: &[u8]| {
            device(&[
                attribute(libc::IFLA_IFNAME, name),
                attribute(libc::IFLA_ADDRESS, &[2, 0xff, 0xfe, 0, 0, 1]),
                attribute(libc::IFLA_PROP_LIST | 0x8000, &attribute(libc::IFLA_ALT_IFNAME, further)),
                attribute(libc::IFLA_IFALIAS, alias),
            ])
        };
        let mut message = named(b"a\xff\0", b"\xe2\x82", "\u{e9}\u{20ac}".as_bytes());
        assert!(make_legible(&mut message));
        assert_eq!(message, named(b"a?\0", b"??", "\u{e9}\u{20ac}".as_bytes()));
        assert!(!make_legible(&mut message), "there is nothing more to do");

        let mut further = named(b"a", b"", b"\xc0b");
        assert!(make_legible(&mut further));
        assert_eq!(further, named(b"a", b"", b"?b"));
    }

    proptest! {
        #[test]
        fn any_bytes_keep_their_length(mut bytes: Vec<u8>, is_device: bool) {
            if is_device && bytes.len() > 6 {
                bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
            }
            let before = bytes.clone();
            let changed = make_legible(&mut bytes);
            prop_assert_eq!(bytes.len(), before.len());
            prop_assert_eq!(changed, bytes != before);
        }
    }
}
