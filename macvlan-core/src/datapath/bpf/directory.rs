//! Where the pins of a master are, and how the directory is called while it is not whole.

use std::path::{Path, PathBuf};

use crate::{
    kernel::{bpffs, master_key::MasterKey},
    model::master::Master,
};

/// Appended to the name of a directory that is not whole. The BPF file system allows no dots.
pub const BUILDING: &str = "-building";

/// File name of the mark that the clsact qdisc is ours.
pub const CLSACT_MARK: &str = "clsact_ours";

pub const LEAVING: &str = "-leaving";

/// Where the pins of `master` are, whether there are any or not.
pub fn directory(master: &Master) -> PathBuf {
    bpffs::root().join(master.key.to_string())
}

/// Whose pin directory it is, whole or not.
pub fn key_of(directory: &Path) -> Option<MasterKey> {
    let name = directory.file_name()?.to_str()?;
    let whole = name.strip_suffix(BUILDING).or_else(|| name.strip_suffix(LEAVING)).unwrap_or(name);
    MasterKey::of_directory(whole)
}
