//! Network namespaces without names: a file descriptor keeps each, nothing else does.

use std::{
    fs::File,
    io,
    ops::Deref,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    panic,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use macvlan_bench::lab::{
    arrivals,
    cables::{bring_up, index_of, on},
    namespaces,
};
use macvlan_core::kernel::{
    netlink::Netlink,
    netns::{self, NetnsRef},
};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::{cli::run, fail::OrFail as _};

/// A network namespace of the test's own.
#[derive(Debug)]
pub struct Netns(Arc<netns::Netns>);

impl Netns {
    /// A new one, with its loopback device up.
    #[track_caller]
    pub fn new() -> Self {
        let ns = Self::bare();
        on(&ns, async || bring_up(&Netlink::open()?, "lo", []).await).or_fail("bring lo up");
        ns
    }

    /// A new one as the kernel makes it.
    #[track_caller]
    pub fn bare() -> Self {
        Self(Arc::new(netns::Netns::create().or_fail("make a network namespace")))
    }

    /// The same namespace, for another station in it.
    pub fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Runs `work` on a thread inside this namespace. Sockets opened there stay in it.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        on_own_thread(|| {
            self.0.enter().or_fail("run in another network namespace");
            work()
        })
    }

    /// A path by which any process of the machine can open this namespace while this one lives.
    pub fn path(&self) -> PathBuf {
        namespaces::path_of(self)
    }

    /// The number by which `/proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u64 {
        self.id().inode()
    }

    /// A command that will run inside this namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.put_inside(&mut command);
        command
    }

    /// Makes `command` enter this namespace before it runs.
    pub fn put_inside(&self, command: &mut Command) {
        let fd = self.as_fd().try_clone_to_owned().or_fail("keep a network namespace");
        let enter = move || setns(&fd, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
    }

    /// A process in this namespace that does nothing.
    #[track_caller]
    pub fn resident(&self) -> Resident {
        // It waits for input, so it ends with this process, however that ends.
        let mut command = self.command("cat");
        Resident { process: command.stdin(Stdio::piped()).spawn().or_fail("run `cat`") }
    }

    /// Runs `ip` with these blank-separated arguments; fails the test when it fails.
    #[track_caller]
    pub fn ip(&self, args: &str) -> String {
        run(self.command("ip").args(args.split_whitespace()))
    }

    /// Runs many `ip` commands, one per line, in one process.
    #[track_caller]
    pub fn ip_batch(&self, lines: impl IntoIterator<Item = String>) {
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        let (reader, mut writer) = io::pipe().or_fail("make a pipe");
        thread::scope(|scope| {
            let feed = scope.spawn(move || io::Write::write_all(&mut writer, text.as_bytes()));
            run(self.command("ip").args(["-batch", "-"]).stdin(Stdio::from(reader)));
            feed.join().unwrap_or_else(|cause| panic::resume_unwind(cause)).or_fail("feed `ip -batch`");
        });
    }

    /// Runs `ip -j` with these arguments and gives back what it printed.
    #[track_caller]
    pub fn ip_json(&self, args: &str) -> Value {
        let text = self.ip(&format!("-j -d {args}"));
        if text.trim().is_empty() {
            return Value::Array(Vec::new());
        }
        serde_json::from_str(&text).or_fail(format!("read the output of `ip -j {args}`"))
    }

    /// Sets `/proc/sys/net/NAME` of this namespace.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: impl ToString) {
        let found = namespaces::set(self, name, &value.to_string()).or_fail(format!("set {name}"));
        assert!(found, "the kernel has no setting {name}");
    }

    /// The index of the device called `name`.
    #[track_caller]
    pub fn ifindex(&self, name: &str) -> u32 {
        index_of(self, name).or_fail("tell the index of a device")
    }

    /// Frames that a device has received, as it counts them.
    #[track_caller]
    pub fn received(&self, device: &str) -> u64 {
        arrivals::received(self, device).or_fail("read a counter")
    }

    /// Frames that all devices but the loopback device have received together.
    #[track_caller]
    pub fn received_by_all(&self) -> u64 {
        arrivals::received_by_all(self).or_fail("read the counters")
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl From<File> for Netns {
    /// The namespace that this file is, made by somebody else.
    fn from(file: File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Self(Arc::new(NetnsRef::Path(path.into()).open().or_fail("open a network namespace")))
    }
}

impl Deref for Netns {
    type Target = netns::Netns;

    fn deref(&self) -> &netns::Netns {
        &self.0
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A process that does nothing until this is dropped.
#[derive(Debug)]
pub struct Resident {
    process: Child,
}

impl Resident {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `work` on a thread whose namespaces nobody else shares, and hands on its panic.
pub fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}
