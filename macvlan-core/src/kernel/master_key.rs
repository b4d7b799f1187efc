//! What tells one lower device from every other of this machine.

use std::fmt;

use anyhow::Result;

use crate::kernel::netns::Netns;

/// Names a master's pin directory and lock: unique over all namespaces, as long as the master lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey(String);

impl fmt::Display for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MasterKey {
    /// The key of the device with this index in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted, on a kernel without namespace cookies.
    pub fn of(index: u32) -> Result<Self> {
        Ok(Self(format!("{}{index}", Self::prefix()?)))
    }

    /// The key that names this pin directory, if it is one of a master's.
    pub fn of_directory(name: &str) -> Option<Self> {
        let (namespace, index) = name.rsplit_once("-if")?;
        let number = namespace.strip_prefix("ns").or_else(|| namespace.strip_prefix("inode"))?;
        let is_key = number.parse::<u64>().is_ok() && index.parse::<u32>().is_ok();
        is_key.then(|| Self(name.to_owned()))
    }

    /// The index of the device, if it is in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted, on a kernel without namespace cookies.
    pub fn index_here(&self) -> Result<Option<u32>> {
        Ok(self.0.strip_prefix(&Self::prefix()?).and_then(|index| index.parse().ok()))
    }

    /// What the keys of this namespace's masters begin with.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted, on a kernel without namespace cookies.
    fn prefix() -> Result<String> {
        Ok(format!("{}-if", Netns::current_tag()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_directories_of_masters_are_told_from_others() {
        for name in ["ns4097-if12", "inode4026531840-if1"] {
            assert_eq!(MasterKey::of_directory(name).unwrap().to_string(), name);
        }
        for name in ["", "ns-if1", "ns1-if", "ns1-if2-building", "ns1-if2-leaving", "other", "-if1"] {
            assert_eq!(MasterKey::of_directory(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_key_of_this_namespace_tells_the_index() {
        assert_eq!(MasterKey::of(7).unwrap().index_here().unwrap(), Some(7));
        assert_eq!(MasterKey::of_directory("ns1-if7").unwrap().index_here().unwrap(), None);
    }
}
