//! Settings that outlive a child: what it may do when it comes back as another device.

use super::Policy;
use crate::{group::GroupName, rate::Meters};

/// Bytes of a [`KeptName`] at most.
pub const KEPT_NAME_LEN: usize = 96;

/// What settings are kept by: the name of a container with its engine, `docker:web`, or the text of a MAC. Zeros
/// stand behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct KeptName([u8; KEPT_NAME_LEN]);

impl KeptName {
    /// The name; `None` where it is too long, or has a zero in it.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; KEPT_NAME_LEN];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.contains('\0')).then_some(Self(bytes))
    }

    /// The text; of bytes that are none, nothing.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().take_while(|byte| **byte != 0).count();
        core::str::from_utf8(self.0.get(..len).unwrap_or_default()).unwrap_or_default()
    }
}

/// What is kept. The control program alone reads and writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Kept {
    /// When it was written, in nanoseconds since the machine started.
    pub since: u64,
    /// All but mode and rates; its group, if any, has the number 1 and the name below.
    pub policy: Policy,
    /// The rates, unused.
    pub rates: Meters,
    /// The group.
    pub group: GroupName,
    /// Kept by a MAC: the name of the container that had it, or nothing. By a container: its id.
    pub of: KeptName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_its_text_or_is_refused() {
        for text in ["", "docker:web", &"x".repeat(KEPT_NAME_LEN)] {
            assert_eq!(KeptName::new(text).unwrap().as_str(), text);
        }
        assert_eq!(KeptName::new(&"x".repeat(KEPT_NAME_LEN + 1)), None);
        assert_eq!(KeptName::new("a\0b"), None);
    }
}
