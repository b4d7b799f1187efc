//! What people call a master.

use std::{fmt, str::FromStr};

use anyhow::Error;

use crate::kernel::ifname::IfName;

/// A master as it is asked for: by its name, or as the device of the default route.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterName(String);

impl MasterName {
    /// Stands for the device of the default route. The kernel gives no device this name
    /// (`sysctl_dev_name_is_allowed` in `include/net/ip.h`); one may have it beside its own.
    pub const DEFAULT_ROUTE: &str = "default";

    /// What was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for the device of the default route, unless a device is called so.
    pub fn is_default_route(&self) -> bool {
        self.0 == Self::DEFAULT_ROUTE
    }
}

impl FromStr for MasterName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text != Self::DEFAULT_ROUTE {
            text.parse::<IfName>()?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MasterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MasterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_a_device_or_that_of_the_default_route() {
        let name = |text: &str| text.parse::<MasterName>();
        assert!(name("default").unwrap().is_default_route());
        assert!(!name("eth0").unwrap().is_default_route());
        for text in ["", "all", "a/b", "sixteen-bytes-xx"] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
