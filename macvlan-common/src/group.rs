//! Names of groups: a policy holds a group's number, a map its name.

use core::{fmt, str::FromStr};

/// Bytes of a name at most.
pub const NAME_LEN: usize = 32;

/// Groups that a master can have.
pub const MOST_GROUPS: u32 = 1024;

/// Name of a group: 1 to [`NAME_LEN`] letters, digits, `.`, `_` and `-`, zeros behind them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct GroupName([u8; NAME_LEN]);

impl GroupName {
    /// The name; of bytes that are none, the part that could be one.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().take_while(|byte| is_allowed(**byte)).count();
        let name = self.0.get(..len).unwrap_or_default();
        core::str::from_utf8(name).unwrap_or_default()
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Text that names no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadGroupName;

impl fmt::Display for BadGroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a group has a name of 1 to {NAME_LEN} letters, digits, '.', '_' and '-'")
    }
}

impl core::error::Error for BadGroupName {}

impl FromStr for GroupName {
    type Err = BadGroupName;

    fn from_str(text: &str) -> Result<Self, BadGroupName> {
        let mut bytes = [0; NAME_LEN];
        let room = bytes.get_mut(..text.len()).ok_or(BadGroupName)?;
        if text.is_empty() || !text.bytes().all(is_allowed) {
            return Err(BadGroupName);
        }
        room.copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_not_stand_in_a_specification_is_no_name() {
        for text in ["", " ", "a,b", "a=b", "a/b", "a\n", "\u{e4}", "123456789012345678901234567890123"] {
            assert_eq!(text.parse::<GroupName>(), Err(BadGroupName), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_gives_back_its_text(text in "[A-Za-z0-9._-]{1,32}") {
            prop_assert_eq!(text.parse::<GroupName>().unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_a_name_or_refused(text: String) {
            if let Ok(name) = text.parse::<GroupName>() {
                prop_assert_eq!(name.as_str(), text);
            }
        }

        #[test]
        fn any_bytes_of_the_map_can_be_shown(bytes: [u8; NAME_LEN]) {
            prop_assert!(GroupName(bytes).as_str().len() <= NAME_LEN);
        }
    }
}
