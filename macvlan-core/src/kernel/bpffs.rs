//! The BPF file system, where links and maps outlive the command that made them.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statfs::{FsType, statfs},
    unistd::{AccessFlags, access},
};

use crate::kernel::{crash, errno::errno};

/// Where every distribution mounts it.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Directory of all our pins.
const OURS: &str = "macvlan-ctl";

/// Directory of marks in there (`marks.rs`).
const MARKS: &str = "made";

/// Whether this process has mounted it, for whatever it was needed first.
static IS_MOUNTED_HERE: AtomicBool = AtomicBool::new(false);

/// `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Whether pins outlive the caller's shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the machine reboots.
    Machine,
    /// No longer than the mount namespace of this process.
    MountNamespace,
}

/// Our directory in the BPF file system, mounted and made if need be.
///
/// # Errors
///
/// When it is not there and cannot be mounted.
pub fn prepare() -> Result<(PathBuf, Lifetime)> {
    if !is_mounted() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), flags, Some("mode=0700")).map_err(cannot_mount)?;
        IS_MOUNTED_HERE.store(true, Ordering::Relaxed);
    }
    let directory = root();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|error| anyhow!("cannot make {directory:?}: {}", errno(&error)))?;
    crash::point("making our directory").inspect_err(|_| remove_root())?;
    let lifetime = if IS_MOUNTED_HERE.load(Ordering::Relaxed) && !in_first_mount_namespace() {
        Lifetime::MountNamespace
    } else {
        Lifetime::Machine
    };
    Ok((directory, lifetime))
}

/// Whether the file system is there, or could be mounted, and can be written to; changes nothing.
///
/// # Errors
///
/// Why not.
pub fn probe() -> Result<()> {
    if is_mounted() {
        return access(MOUNT_POINT, AccessFlags::W_OK).map_err(|errno| {
            anyhow!("cannot write to the BPF file system at {MOUNT_POINT}: {}", errno.desc().to_lowercase())
        });
    }
    // A mount namespace of its own ends with the thread, and takes the mount with it.
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), None::<&str>)
    });
    let tried = tried.join().map_err(|_| anyhow!("the attempt to mount the BPF file system panicked"))?;
    tried.map_err(cannot_mount)
}

fn cannot_mount(errno: Errno) -> anyhow::Error {
    anyhow!("cannot mount the BPF file system at {MOUNT_POINT}: {}", errno.desc().to_lowercase())
}

/// Where our directory is, whether it is there or not.
pub fn root() -> PathBuf {
    Path::new(MOUNT_POINT).join(OURS)
}

/// What is where the file system belongs, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file system.
    Mounted,
    /// A directory to mount it on.
    Bare,
    /// Nothing.
    Nowhere,
}

/// What is where the file system belongs.
pub fn place() -> Place {
    match fs::exists(MOUNT_POINT) {
        Ok(true) if is_mounted() => Place::Mounted,
        Ok(true) => Place::Bare,
        _ => Place::Nowhere,
    }
}

/// Whether the file system is mounted where it belongs.
pub fn is_mounted() -> bool {
    statfs(MOUNT_POINT).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Whether process 1 certainly sees the same mounts.
fn in_first_mount_namespace() -> bool {
    let id = |path: &str| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    match (id("/proc/1/ns/mnt"), id("/proc/self/ns/mnt")) {
        (Ok(first), Ok(own)) => first == own,
        _ => false,
    }
}

/// Removes a pin directory and every pin in it; that it is gone already is no error.
///
/// # Errors
///
/// When a pin cannot be removed, or the directory is not one of ours.
pub fn remove_directory(directory: &Path) -> Result<()> {
    if !directory.starts_with(root()) || directory == root() {
        bail!("{directory:?} is not a pin directory of ours");
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {directory:?}")),
    };
    for entry in entries {
        let path = entry?.path();
        remove_pin(&path)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {directory:?}"))
        }
        _ => crash::point("removing a pin directory"),
    }
}

/// Removes our directory, once nothing is in it.
pub fn remove_root() {
    // Each stays while something is in it: marks, the pins of another master.
    let _ = fs::remove_dir(marks());
    let _ = fs::remove_dir(root());
}

/// The directory of marks.
pub fn marks() -> PathBuf {
    root().join(MARKS)
}

/// Removes one pin; that it is gone already is no error.
///
/// # Errors
///
/// When it cannot be removed.
pub fn remove_pin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove pin {path:?}"))
        }
        _ => crash::point("removing a pin"),
    }
}

/// Names of what is in `directory`; none where it is not there.
///
/// # Errors
///
/// It cannot be read.
pub fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {directory:?}")),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
