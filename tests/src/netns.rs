//! Network namespaces without names: a file descriptor keeps each, nothing else does.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    panic,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use crate::{cli::run, fail::OrFail as _};

/// A network namespace of the test's own.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// A new one, with its loopback device up.
    pub fn new() -> Self {
        let ns = Self::bare();
        ns.ip("link set lo up");
        ns
    }

    /// A new one as the kernel makes it.
    pub fn bare() -> Self {
        let fd = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).or_fail("make a network namespace");
            File::open("/proc/thread-self/ns/net").or_fail("open the new network namespace")
        });
        Self { fd: fd.into() }
    }

    /// The same namespace, for another station in it.
    pub fn share(&self) -> Self {
        Self { fd: self.fd.try_clone().or_fail("keep a network namespace") }
    }

    /// Runs `work` on a thread inside this namespace. Sockets opened there stay in it.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        on_own_thread(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET).or_fail("enter a network namespace");
            work()
        })
    }

    /// A path by which any process of the machine can open this namespace while this one lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// The number by which `/proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u64 {
        fs::metadata(self.path()).or_fail("look at a network namespace").ino()
    }

    /// A command that will run inside this namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.put_inside(&mut command);
        command
    }

    /// Makes `command` enter this namespace before it runs.
    pub fn put_inside(&self, command: &mut Command) {
        let fd = self.fd.try_clone().or_fail("keep a network namespace");
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
        let value = value.to_string();
        let path = format!("/proc/sys/net/{name}");
        self.enter(|| fs::write(&path, value)).or_fail(format!("write {path}"));
    }

    /// The index of the device called `name`.
    #[track_caller]
    pub fn ifindex(&self, name: &str) -> u32 {
        let name = std::ffi::CString::new(name).or_fail("use a device name");
        // SAFETY: the name is a string that ends in NUL and outlives the call.
        let index = self.enter(|| unsafe { libc::if_nametoindex(name.as_ptr()) });
        assert!(index != 0, "no device {name:?}");
        index
    }

    /// Frames that a device has received, as it counts them.
    #[track_caller]
    pub fn received(&self, device: &str) -> u64 {
        received(&self.ip_json(&format!("-s link show dev {device}"))[0])
    }

    /// Frames that all devices but the loopback device have received together.
    #[track_caller]
    pub fn received_by_all(&self) -> u64 {
        let links = self.ip_json("-s link show");
        let all = links.as_array().or_fail("read the links");
        all.iter().filter(|link| link["ifname"] != "lo").map(received).sum()
    }
}

#[track_caller]
fn received(link: &Value) -> u64 {
    link["stats64"]["rx"]["packets"].as_u64().or_fail("read a counter")
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl From<File> for Netns {
    /// The namespace that this file is, made by somebody else.
    fn from(file: File) -> Self {
        Self { fd: file.into() }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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
