//! Network namespaces: naming, opening, entering.

pub(crate) mod known;
pub mod place;

use std::{
    fmt,
    fs::{self, File},
    io,
    mem::size_of,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    str::FromStr,
    thread,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::kernel::errno::errno;

/// Where `ip netns` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// How a user names a namespace: a name of `ip netns`, a path, or the id of a process in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetnsRef {
    /// A name under `/run/netns`.
    Name(String),
    /// A path to a namespace file.
    Path(PathBuf),
    /// A process.
    Pid(u32),
}

impl FromStr for NetnsRef {
    type Err = Error;

    /// Text with a slash is a path, a number is a process, anything else a name.
    fn from_str(text: &str) -> Result<Self> {
        if text.contains('/') {
            return Ok(Self::Path(text.into()));
        }
        if let Ok(pid) = text.parse() {
            return Ok(Self::Pid(pid));
        }
        if text.is_empty() || text == "." || text == ".." || text.contains('\0') {
            bail!("{text:?} is not a namespace: give a name of \"ip netns\", a path or a process id");
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for NetnsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Pid(pid) => pid.fmt(f),
        }
    }
}

impl NetnsRef {
    fn path(&self) -> PathBuf {
        match self {
            Self::Name(name) => Path::new(NAMED).join(name),
            Self::Path(path) => path.clone(),
            Self::Pid(pid) => format!("/proc/{pid}/ns/net").into(),
        }
    }

    /// What tells the namespace from others, without opening it; `None` where nothing is there.
    pub fn id(&self) -> Option<NetnsId> {
        let meta = fs::metadata(self.path()).ok()?;
        Some(NetnsId { device: meta.dev(), inode: meta.ino() })
    }

    /// Opens the namespace.
    ///
    /// # Errors
    ///
    /// When nothing is there, or what is there is no network namespace.
    pub fn open(&self) -> Result<Netns> {
        let path = self.path();
        let file = File::open(&path).map_err(|error| match (self, error.kind()) {
            (Self::Name(name), io::ErrorKind::NotFound) => {
                anyhow!("no network namespace {name:?}: see \"ip netns list\"")
            }
            (Self::Pid(pid), io::ErrorKind::NotFound) => anyhow!("no process {pid}"),
            _ => anyhow!("cannot open network namespace \"{}\": {}", path.display(), errno(&error)),
        })?;
        Netns::from_file(file).with_context(|| format!("cannot use \"{}\"", path.display()))
    }
}

/// What tells one namespace from another while both live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl NetnsId {
    /// One for tests.
    #[cfg(test)]
    pub const fn example(inode: u64) -> Self {
        Self { device: 4, inode }
    }

    /// That of the namespace whose file `path` is; of another file, one that no namespace has.
    pub fn of_path(path: impl AsRef<Path>) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino() })
    }

    /// That of the namespace with this label.
    pub fn of_label(label: &str) -> Option<Self> {
        // A name has no slash, and a path from here is absolute.
        Self::of_path(Path::new(NAMED).join(label))
    }

    /// That of the namespace that a process is in.
    pub fn of_process(process: u32) -> Option<Self> {
        Self::of_path(NetnsRef::Pid(process).path())
    }

    /// The inode number that `ls -l /proc/self/ns/net` shows.
    pub fn inode(self) -> u64 {
        self.inode
    }
}

/// An open network namespace. It lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    id: NetnsId,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let file = File::open(path).with_context(|| format!("cannot open {path:?}: is /proc mounted?"))?;
        Self::from_file(file)
    }

    fn from_file(file: File) -> Result<Self> {
        // SAFETY: NS_GET_NSTYPE takes no argument and only reads from the file descriptor.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            bail!("it is not a network namespace: see \"ip netns list\"");
        }
        let meta = file.metadata()?;
        Ok(Self { file, id: NetnsId { device: meta.dev(), inode: meta.ino() } })
    }

    /// Its identity.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Moves the calling thread there, for good.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_ADMIN`.
    pub fn enter(&self) -> Result<()> {
        setns(self, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace (root is needed)")
    }

    /// Runs `task` in this namespace, on a thread of its own: the caller's never moves.
    ///
    /// # Errors
    ///
    /// Those of [`enter`](Self::enter) and of `task`.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                task()
            });
            worker.join().unwrap_or_else(|_| Err(anyhow!("a task in another network namespace panicked")))
        })
    }

    /// Runs `task` in this namespace on the calling thread, and brings that back: for a program that has
    /// no other thread and is soon done, where to start one and to wait for it takes longer than most
    /// tasks, and on a busy machine far longer. The process ends if the way back is barred, as whatever
    /// came next would be done in the wrong place.
    ///
    /// # Errors
    ///
    /// Those of [`enter`](Self::enter) and of `task`.
    pub fn visit<T>(&self, task: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Home(Netns);
        impl Drop for Home {
            fn drop(&mut self) {
                if let Err(error) = self.0.enter() {
                    eprintln!("cannot return to the own network namespace: {error:#}");
                    std::process::abort();
                }
            }
        }
        let _home = Home(Self::current()?);
        self.enter()?;
        task()
    }

    /// A new namespace that nobody else knows.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_ADMIN`.
    pub fn create() -> Result<Self> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                    .context("cannot make a network namespace (root is needed)")?;
                Self::current()
            });
            worker.join().unwrap_or_else(|_| Err(anyhow!("making a network namespace panicked")))
        })
    }

    /// What tells the namespace of the calling thread from others: its cookie or, where it has none, its inode.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted, on a kernel without namespace cookies.
    pub fn current_tag() -> Result<String> {
        match Self::current_cookie() {
            Some(cookie) => Ok(format!("ns{cookie}")),
            None => Ok(format!("inode{}", Self::current()?.id().inode())),
        }
    }

    /// The cookie of the calling thread's namespace: unlike an inode number it is never used twice
    /// while the kernel runs. `None` before kernel 5.14 (`SO_NETNS_COOKIE`).
    pub fn current_cookie() -> Option<u64> {
        let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
        let mut cookie = 0_u64;
        let mut len = size_of::<u64>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to `cookie`, which is that large.
        let status = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        };
        (status == 0 && cookie != 0).then_some(cookie)
    }
}

/// `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_name_a_path_or_a_process() {
        assert_eq!("blue".parse::<NetnsRef>().unwrap(), NetnsRef::Name("blue".into()));
        assert_eq!("/run/netns/blue".parse::<NetnsRef>().unwrap(), NetnsRef::Path("/run/netns/blue".into()));
        assert_eq!("../blue".parse::<NetnsRef>().unwrap(), NetnsRef::Path("../blue".into()));
        assert_eq!("4711".parse::<NetnsRef>().unwrap(), NetnsRef::Pid(4711));
        for text in ["", ".", ".."] {
            assert!(text.parse::<NetnsRef>().is_err());
        }
    }

    #[test]
    fn what_is_no_namespace_is_not_opened() {
        let message = |text: &str| format!("{:#}", text.parse::<NetnsRef>().unwrap().open().unwrap_err());
        assert_eq!(message("no-such-ns"), "no network namespace \"no-such-ns\": see \"ip netns list\"");
        let no_namespace =
            |path| format!("cannot use {path:?}: it is not a network namespace: see \"ip netns list\"");
        assert_eq!(message("/proc/self/status"), no_namespace("/proc/self/status"));
        assert_eq!(message("/proc/self/ns/mnt"), no_namespace("/proc/self/ns/mnt"));
    }
}
