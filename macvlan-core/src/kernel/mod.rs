//! What speaks to the kernel: netlink, namespaces, the BPF file system, ethtool, generic netlink, AF_XDP.

pub mod bpffs;
pub(crate) mod btf;
pub(crate) mod crash;
pub mod errno;
pub mod ethtool;
pub(crate) mod genl;
pub mod ifname;
pub mod lock;
pub mod marks;
pub mod master_key;
pub mod netlink;
pub mod netns;
pub mod program;
pub mod wireless;
pub mod xsk;
