//! A mount namespace per lab: pins, named namespaces and lock files live and die in it.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::Command,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{fail::OrFail as _, netns::on_own_thread};

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";

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
            unshare(CloneFlags::CLONE_NEWNS).or_fail("make a mount namespace");
            let recursive = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, recursive, None::<&str>).or_fail("make mounts private");
            fresh("tmpfs", "/run");
            fresh("bpf", BPFFS);
            File::open("/proc/thread-self/ns/mnt").or_fail("open the new mount namespace")
        });
        Self { fd: fd.into() }
    }

    /// Takes the BPF file systems away, as on a machine that never mounted one.
    pub fn without_bpffs(&self) {
        self.enter(|| while umount2(BPFFS, MntFlags::MNT_DETACH).is_ok() {});
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

fn fresh(fstype: &str, target: &str) {
    mount(Some(fstype), target, Some(fstype), MsFlags::empty(), None::<&str>)
        .or_fail(format!("mount {fstype} on {target}"));
}
