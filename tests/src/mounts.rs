//! A mount namespace per lab: pins, named namespaces and lock files live and die in it.

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::Command,
};

use macvlan_bench::lab::mounts::{cover, separate};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{
    fail::OrFail as _,
    netns::{Netns, on_own_thread},
};

pub use macvlan_bench::lab::mounts::BPFFS;

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// A copy of the machine's mounts with an empty `/run` and an empty BPF file system of its own.
#[derive(Debug)]
pub struct Mounts {
    fd: OwnedFd,
}

impl Mounts {
    /// A new one.
    pub fn new() -> Self {
        let fd = on_own_thread(|| {
            // Implies CLONE_FS, so the other threads keep their view.
            separate().or_fail("make a mount namespace");
            File::open("/proc/thread-self/ns/mnt").or_fail("open the new mount namespace")
        });
        Self { fd: fd.into() }
    }

    /// Takes the BPF file systems away, as on a machine that never mounted one.
    pub fn without_bpffs(&self) {
        self.enter(|| while umount2(BPFFS, MntFlags::MNT_DETACH).is_ok() {});
    }

    /// Mounts a BPF file system, an empty one.
    #[track_caller]
    pub fn mount_bpffs(&self) {
        self.enter(|| mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>))
            .or_fail("mount a BPF file system");
    }

    /// Lets nobody write to the BPF file system, or anybody again.
    #[track_caller]
    pub fn set_bpffs_read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        self.enter(|| mount(None::<&str>, BPFFS, None::<&str>, flags, None::<&str>))
            .or_fail("remount the BPF file system");
    }

    /// Lets nobody write to `/run`, or anybody again.
    #[track_caller]
    pub fn set_run_read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        self.enter(|| mount(None::<&str>, "/run", None::<&str>, flags, None::<&str>)).or_fail("remount /run");
    }

    /// Puts a `/run` over this one in which there is no room for a file, or takes it away again.
    #[track_caller]
    pub fn set_run_full(&self, full: bool) {
        // The root directory of the file system is the one.
        let options = Some("nr_inodes=1");
        self.enter(|| match full {
            true => mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), options),
            false => umount2("/run", MntFlags::MNT_DETACH),
        })
        .or_fail("fill /run");
    }

    /// Puts an empty directory over this one, for those who have these mounts and nobody else.
    pub fn hide(&self, directory: &str) {
        self.enter(|| cover("tmpfs", directory).or_fail("hide a directory"));
    }

    /// Takes the place away where a BPF file system could be mounted.
    pub fn without_place_for_bpffs(&self) {
        self.enter(|| cover("tmpfs", "/sys/fs").or_fail("hide a directory"));
    }

    /// Gives that place back.
    pub fn with_place_for_bpffs(&self) {
        self.enter(|| umount2("/sys/fs", MntFlags::MNT_DETACH)).or_fail("uncover /sys/fs");
    }

    /// Gives a network namespace a name, as `ip netns add` does.
    #[track_caller]
    pub fn name_netns(&self, name: &str, ns: &Netns) {
        let (source, target) = (ns.path(), Path::new(NAMED).join(name));
        self.enter(|| {
            fs::create_dir_all(NAMED).or_fail("make a directory for names");
            File::create(&target).or_fail("make a name");
            let bound = mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            bound.or_fail("name a network namespace");
        });
    }

    /// Runs `work` on a thread that sees these mounts.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        on_own_thread(|| {
            // A thread that shares its root and working directory may not change mount namespace.
            unshare(CloneFlags::CLONE_FS).or_fail("stop sharing the working directory");
            setns(&self.fd, CloneFlags::CLONE_NEWNS).or_fail("enter a mount namespace");
            work()
        })
    }

    /// Makes `command` see these mounts.
    pub fn put_inside(&self, command: &mut Command) {
        let fd = self.fd.try_clone().or_fail("keep a mount namespace");
        let enter = move || setns(&fd, CloneFlags::CLONE_NEWNS).map_err(io::Error::from);
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
    }
}

impl Default for Mounts {
    fn default() -> Self {
        Self::new()
    }
}
