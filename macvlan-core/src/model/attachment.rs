//! Whose a device is, as its mark has it and its alias shows it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::kernel::ifname::IfName;

/// What the alias of every device begins with that an orchestrator asked us for.
const PREFIX: &str = "macvlan-ctl cni ";

/// Longest name that stands as it is: with two of them, a device name and the prefix an alias stays
/// below the kernel's 256 bytes (`IFALIASZ`).
const LONGEST: usize = 96;

/// What stands before the digest of a longer name; no name of CNI begins so.
const DIGEST: char = '~';

/// Network, container and device name: the key of an attachment in the CNI specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    network: String,
    container: String,
    ifname: String,
}

impl Attachment {
    /// That of this attachment.
    pub fn new(network: &str, container: &str, ifname: &IfName) -> Self {
        Self { network: bounded(network), container: bounded(container), ifname: ifname.as_str().to_owned() }
    }

    /// The one in this alias; `None` when it is nobody's. A container writes its alias: what could not be a network,
    /// a container or a device is no attachment, as plugins of others are told of it.
    pub fn of_alias(alias: &str) -> Option<Self> {
        let mut words = alias.strip_prefix(PREFIX)?.split(' ').map(str::to_owned);
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(network), Some(container), Some(ifname), None)
                if is_kept(&network) && is_kept(&container) && ifname.parse::<IfName>().is_ok() =>
            {
                Some(Self { network, container, ifname })
            }
            _ => None,
        }
    }

    /// Whether it belongs to this network.
    pub fn is_of(&self, network: &str) -> bool {
        self.network == bounded(network)
    }

    /// A name for files about it.
    pub fn digest(&self) -> String {
        digest(&self.to_string())
    }

    /// Container and device name; `None` when the id was too long to be kept.
    pub fn target(&self) -> Option<(&str, IfName)> {
        if self.container.starts_with(DIGEST) {
            return None;
        }
        Some((&self.container, self.ifname.parse().ok()?))
    }
}

impl fmt::Display for Attachment {
    /// As the alias has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{} {} {}", self.network, self.container, self.ifname)
    }
}

/// Whether an alias may name a network or container so: as the CNI specification has it, or as [`bounded`] does.
fn is_kept(name: &str) -> bool {
    match name.strip_prefix(DIGEST) {
        Some(digest) => digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => name.len() <= LONGEST && is_cni_name(name),
    }
}

/// Whether the CNI specification (1.1.0, section 2) allows this as the name of a network or the id of a container.
pub fn is_cni_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn bounded(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    format!("{DIGEST}{}", digest(name))
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IFALIASZ: usize = 256;

    fn attachment(network: &str, container: &str) -> Attachment {
        Attachment::new(network, container, &"eth0".parse().unwrap())
    }

    #[test]
    fn an_alias_of_anybody_else_is_nobodys() {
        for rest in [
            "",
            " a b",
            " a b c d",
            " a ../../etc c",
            " a -b c",
            " a b\n c",
            " a b c/d",
            " /a b c",
            " ~ab b c",
        ] {
            let alias = format!("macvlan-ctl cni{rest}");
            assert_eq!(Attachment::of_alias(&alias), None, "{alias:?}");
        }
        for alias in ["", "macvlan-ctl"] {
            assert_eq!(Attachment::of_alias(alias), None, "{alias:?}");
        }
        let longer = format!("macvlan-ctl cni a {} eth0", "b".repeat(LONGEST + 1));
        assert_eq!(Attachment::of_alias(&longer), None, "none of ours is so long");
    }

    #[test]
    fn long_names_differ_still() {
        let long = |last: &str| attachment("lan", &("c".repeat(254) + last));
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a").target(), None);
        assert!(attachment(&"n".repeat(255), "c").is_of(&"n".repeat(255)));
    }

    proptest! {
        #[test]
        fn an_alias_is_read_as_it_was_written(
            network in "[a-z0-9][a-z0-9_.-]{0,254}", container in "[a-z0-9][a-z0-9_.-]{0,254}"
        ) {
            let identity = attachment(&network, &container);
            let alias = identity.to_string();
            prop_assert!(alias.len() < IFALIASZ);
            prop_assert_eq!(Attachment::of_alias(&alias), Some(identity));
        }
    }
}
