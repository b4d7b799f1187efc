//! Mounts of a lab's own: pins and lock files end with whoever sees them, however that ends.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Directories that get an empty file system over them.
const FRESH: [(&str, &str); 2] = [("tmpfs", "/run"), ("bpf", BPFFS)];

/// Gives the calling thread, and those it starts, mounts of their own with nothing of `macvlan-ctl`
/// in them. Whatever is made there from now on is nobody else's to see.
///
/// # Errors
///
/// Without `CAP_SYS_ADMIN`.
pub fn separate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace (root is needed)")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("cannot make mounts private")?;
    FRESH.iter().try_for_each(|(kind, directory)| cover(kind, directory))
}

/// Mounts an empty file system of this type over a directory, in the mounts of the calling thread.
///
/// # Errors
///
/// There is no such directory, or this is not root.
pub fn cover(kind: &str, directory: &str) -> Result<()> {
    mount(Some(kind), directory, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount {kind} on {directory:?}"))
}

/// A file that is to be written after [`separate`]: its directory is held open from before, since
/// one of those that are hidden may be meant.
#[derive(Debug)]
pub struct Output {
    directory: File,
    name: PathBuf,
    shown: PathBuf,
}

impl Output {
    /// A new file of this name.
    ///
    /// # Errors
    ///
    /// When there is one already, or no such directory.
    pub fn reserve(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name() else { bail!("{path:?} is not the name of a file") };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = File::open(parent).with_context(|| format!("cannot open directory {parent:?}"))?;
        if !directory.metadata().with_context(|| format!("cannot look at {parent:?}"))?.is_dir() {
            bail!("{parent:?} is not a directory");
        }
        if path.symlink_metadata().is_ok() {
            bail!("{path:?} is there already: remove it, or give another name");
        }
        Ok(Self { directory, name: name.into(), shown: path.to_owned() })
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// When somebody else made a file of that name meanwhile, or the disk is full.
    pub fn write(&self, content: &str) -> Result<()> {
        let path = Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(&self.name);
        let written = File::create_new(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, content.as_bytes()));
        written.with_context(|| format!("cannot write {:?}", self.shown))
    }
}

/// A directory that files are to be written to after [`separate`].
#[derive(Debug)]
pub struct OutputDirectory {
    directory: File,
    shown: PathBuf,
}

impl OutputDirectory {
    /// An empty directory, which is made unless it is there: nothing in it can be overwritten.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or there is something in it.
    pub fn reserve(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make directory {path:?}"))?;
        let mut entries = std::fs::read_dir(path).with_context(|| format!("cannot read {path:?}"))?;
        if entries.next().is_some() {
            bail!("{path:?} is not empty: remove what is there, or give another directory");
        }
        let directory = File::open(path).with_context(|| format!("cannot open directory {path:?}"))?;
        Ok(Self { directory, shown: path.to_owned() })
    }

    /// A new file in it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be held open once more.
    pub fn file(&self, name: &str) -> Result<Output> {
        let directory = self.directory.try_clone().context("cannot hold a directory open")?;
        Ok(Output { directory, name: name.into(), shown: self.shown.join(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        let output = Output::reserve(&path).unwrap();
        output.write("one").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert!(format!("{:#}", Output::reserve(&path).unwrap_err()).contains("is there already"));
        assert!(format!("{:#}", output.write("two").unwrap_err()).starts_with("cannot write"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert!(Output::reserve(&directory.path().join("absent/report.html")).is_err());
        assert!(Output::reserve(&path.join("report.html")).is_err());
    }
}
