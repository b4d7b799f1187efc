//! Names that come from outside, checked once.

use std::{fmt, str::FromStr};

use anyhow::{Error, bail};
use serde::{Serialize, Serializer};

/// A network device name that the kernel would accept.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName(String);

impl IfName {
    /// Longest name: `IFNAMSIZ` less the terminating zero.
    pub const MAX_LEN: usize = libc::IFNAMSIZ - 1;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = Error;

    /// Checks what `dev_valid_name` in the kernel's `net/core/dev.c` checks.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            bail!("a device name must not be empty");
        }
        if text.len() > Self::MAX_LEN {
            bail!("device name {text:?} is too long: {} bytes, at most {}", text.len(), Self::MAX_LEN);
        }
        let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text == "." || text == ".." || text.contains(refused) {
            bail!(
                "device name {text:?} is not allowed: it must have no slash, colon, space or control character"
            );
        }
        if RESERVED.contains(&text) {
            bail!("device name {text:?} is not allowed: the kernel keeps settings under it");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Directories beside those of the devices in `/proc/sys/net/ipv4/conf`
/// (`sysctl_dev_name_is_allowed` in `include/net/ip.h`).
const RESERVED: [&str; 2] = ["all", "default"];

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for IfName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_the_kernel_refuses_are_refused() {
        for name in
            ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx", "all", "default", "tab\t", "nul\0"]
        {
            assert!(name.parse::<IfName>().is_err(), "{name:?}");
        }
        assert_eq!("fifteen-bytes!!".parse::<IfName>().unwrap().as_str(), "fifteen-bytes!!");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_as_it_is_or_refused(text: String) {
            if let Ok(name) = text.parse::<IfName>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(text.len() <= IfName::MAX_LEN);
            }
        }
    }
}
