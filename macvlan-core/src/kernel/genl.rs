//! Generic netlink, as much as two questions about a device need.

use std::io;

use anyhow::{Context as _, Result, anyhow, bail};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::errno::Errno;

use crate::kernel::errno::errno;

/// A family of the kernel that answers questions.
pub struct Family {
    socket: Socket,
    id: u16,
}

/// The attributes of an answer: type and value.
pub type Attributes = Vec<(u16, Vec<u8>)>;

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_*` (`include/uapi/linux/genetlink.h`).
const ID_CTRL: u16 = 16;

const CMD_GETFAMILY: u8 = 3;

const ATTR_FAMILY_ID: u16 = 1;

const ATTR_FAMILY_NAME: u16 = 2;

impl Family {
    /// The family of this name, in the network namespace of the calling thread; `None` where the
    /// kernel has none.
    ///
    /// # Errors
    ///
    /// Generic netlink is unavailable.
    pub fn find(name: &str) -> Result<Option<Self>> {
        let mut socket = Socket::new(NETLINK_GENERIC).context("cannot open a generic netlink socket")?;
        socket.bind_auto().context("cannot bind a generic netlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).context("cannot reach generic netlink")?;
        // The kernel answers while the request is sent: nothing is ever waited for.
        socket.set_non_blocking(true).context("cannot set up a generic netlink socket")?;
        let mut control = Self { socket, id: ID_CTRL };
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        let Some(answer) = control.ask(CMD_GETFAMILY, ATTR_FAMILY_NAME, &value)? else { return Ok(None) };
        control.id = number(&answer, ATTR_FAMILY_ID).context("generic netlink gave a family no id")?;
        Ok(Some(control))
    }

    /// Asks with a single attribute. `None` when the kernel knows nothing of that name or device.
    ///
    /// # Errors
    ///
    /// The request is not allowed, or the device is gone.
    pub fn ask(&self, command: u8, attribute: u16, value: &[u8]) -> Result<Option<Attributes>> {
        let request = request(self.id, command, attribute, value)?;
        self.socket.send(&request, 0).context("cannot ask generic netlink")?;
        let (answer, _) = self.socket.recv_from_full().context("generic netlink does not answer")?;
        parse(&answer)
    }
}

/// Lengths of `struct nlmsghdr`, `struct genlmsghdr` and `struct nlattr`.
const HEADER: usize = 16;

const GENERIC_HEADER: usize = 4;

const ATTRIBUTE_HEADER: usize = 4;

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Result<Vec<u8>> {
    const NLM_F_REQUEST: u16 = 1;
    const VERSION: u8 = 1;
    let attribute_len = u16::try_from(ATTRIBUTE_HEADER + value.len())?;
    let len = u32::try_from(HEADER + GENERIC_HEADER + usize::from(attribute_len).next_multiple_of(4))?;
    let mut bytes = Vec::new();
    bytes.extend(len.to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port: one question at a time on a socket of its own.
    bytes.extend([0; 8]);
    bytes.extend([command, VERSION, 0, 0]);
    bytes.extend(attribute_len.to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(len as usize, 0);
    Ok(bytes)
}

fn parse(answer: &[u8]) -> Result<Option<Attributes>> {
    const NLMSG_ERROR: u16 = 2;
    let malformed = || anyhow!("generic netlink gave an answer that is not one");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let body = answer.get(HEADER..).ok_or_else(malformed)?;
    if kind == Some(NLMSG_ERROR) {
        let code = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        let number = code.ok_or_else(malformed)?.saturating_abs();
        return match Errno::from_raw(number) {
            Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP => Ok(None),
            _ => bail!("{}", errno(&io::Error::from_raw_os_error(number))),
        };
    }
    Ok(Some(attributes(body.get(GENERIC_HEADER..).ok_or_else(malformed)?)))
}

/// The attributes of a message; what is cut short is left out.
fn attributes(mut bytes: &[u8]) -> Attributes {
    /// `NLA_TYPE_MASK`: without the flags for nested and network order.
    const TYPE: u16 = 0x3fff;
    let mut attributes = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(ATTRIBUTE_HEADER) {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE;
        let Some(value) = len.checked_sub(ATTRIBUTE_HEADER).and_then(|len| rest.get(..len)) else { break };
        attributes.push((kind, value.to_vec()));
        bytes = rest.get(value.len().next_multiple_of(4)..).unwrap_or_default();
    }
    attributes
}

/// An attribute that is a number of the host's order, in exactly as many bytes.
pub fn number<T: Number>(attributes: &Attributes, kind: u16) -> Option<T> {
    attributes.iter().find(|(found, _)| *found == kind).and_then(|(_, value)| T::of(value))
}

/// A number that an attribute can hold.
pub trait Number: Sized {
    /// The number in these bytes, where they are as many as it has.
    fn of(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($kind:ty),+) => {
        $(
            impl Number for $kind {
                fn of(bytes: &[u8]) -> Option<Self> {
                    bytes.try_into().ok().map(Self::from_ne_bytes)
                }
            }
        )+
    };
}

number!(u8, u16, u32, u64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(16, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_request_is_padded_and_says_its_length() {
        let request = request(16, 3, 2, b"netdev\0").unwrap();
        assert_eq!(request.len(), 32);
        assert_eq!(request[..4], 32_u32.to_ne_bytes());
        assert_eq!(request[20..24], [11, 0, 2, 0]);
    }

    #[test]
    fn an_answer_gives_its_attributes() {
        let body = [1, 2, 0, 0, 6, 0, 1, 0, 25, 0, 0, 0, 12, 0, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        let attributes = parse(&answer(25, &body)).unwrap().unwrap();
        assert_eq!(number::<u16>(&attributes, 1), Some(25));
        assert_eq!(number::<u64>(&attributes, 3), Some(7));
        assert_eq!(number::<u32>(&attributes, 3), None);
        assert_eq!(number::<u64>(&attributes, 9), None);
    }

    #[test]
    fn an_unknown_name_is_no_error_and_a_refusal_is() {
        assert!(parse(&answer(2, &(-2_i32).to_ne_bytes())).unwrap().is_none());
        assert!(parse(&answer(2, &(-19_i32).to_ne_bytes())).unwrap().is_none());
        let refused = parse(&answer(2, &(-1_i32).to_ne_bytes())).unwrap_err();
        assert_eq!(refused.to_string(), "operation not permitted");
        assert!(parse(&[0; 7]).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
