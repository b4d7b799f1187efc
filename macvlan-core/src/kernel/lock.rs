//! One command at a time on each master.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::time::sleep;

use crate::kernel::{crash, master_key::MasterKey};

/// Held while a command works on a master; the kernel lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still held: whoever waits for it sees that the file is another one, and begins anew.
        let _ = fs::remove_file(&self.path);
        crash::stop("removing a lock file");
        // It stays while other locks are in it, and where somebody else made it: a kubelet, for the agent in a
        // container, which would go on with a directory that nobody else has.
        if is_as_we_make_it() {
            let _ = fs::remove_dir(DIRECTORY);
        }
    }
}

/// Where the lock files are. They hold nothing, so that nothing in them can be wrong.
const DIRECTORY: &str = "/run/macvlan-ctl";

/// How a command makes it. Others make theirs readable: a kubelet, `mkdir`.
const DIRECTORY_MODE: u32 = 0o700;

/// How long to wait for another command: far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long another command may look whether a trace runs.
const LOOK: Duration = Duration::from_millis(500);

/// How long the directory may vanish again and again: others make and remove it within microseconds.
const VANISHING: Duration = Duration::from_secs(1);

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(10);

/// Another command is at work on a master, and holds its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    name: String,
    path: PathBuf,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another macvlan-ctl is at work on {:?} (it holds {:?})", self.name, self.path)
    }
}

impl std::error::Error for Busy {}

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Does `work`, in which no lock of a master is waited for: one that another command holds is [`Busy`] at
/// once. For who has more to do than this work, and comes back.
pub async fn at_once<F: Future>(work: F) -> F::Output {
    until(Instant::now(), work).await
}

/// Does `work`, in which a lock of a master is waited for until then at most.
pub async fn until<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}

impl Lock {
    /// Waits until no other command works on the master called `name` that has this key: as long as
    /// [`at_once`] and [`until`] let it.
    ///
    /// # Errors
    ///
    /// [`Busy`] where another command does not end, or `/run` is full or read-only.
    pub async fn take(key: &MasterKey, name: &str) -> Result<Self> {
        let deadline = DEADLINE.try_with(|deadline| *deadline).unwrap_or_else(|_| Instant::now() + PATIENCE);
        let path = path_of(key);
        match Self::take_until(path.clone(), deadline).await? {
            Some(lock) => Ok(lock),
            None => Err(Busy { name: name.to_owned(), path }.into()),
        }
    }

    /// The lock of the master with this key, or `None` where another command works on it.
    ///
    /// # Errors
    ///
    /// `/run` is full or read-only.
    pub fn try_take(key: &MasterKey) -> Result<Option<Self>> {
        Self::try_path(&path_of(key))
    }

    /// Takes the lock that a trace of the master called `name` holds from its beginning to its end; other commands
    /// go on meanwhile.
    ///
    /// # Errors
    ///
    /// Another trace runs, or `/run` is full or read-only.
    pub async fn take_for_trace(key: &MasterKey, name: &str) -> Result<Self> {
        let path = trace_path(&key.to_string());
        match Self::take_within(path.clone(), LOOK).await? {
            Some(lock) => Ok(lock),
            None => {
                bail!("another trace of {name:?} is running; stop it first (it holds {path:?})")
            }
        }
    }

    /// Takes the lock that a `run` holds for as long as it follows the master called `name`; other commands go
    /// on meanwhile.
    ///
    /// # Errors
    ///
    /// Another one follows it, or `/run` is full or read-only.
    pub fn take_for_run(key: &MasterKey, name: &str) -> Result<Self> {
        let path = PathBuf::from(DIRECTORY).join(format!("{key}.run"));
        match Self::try_path(&path)? {
            Some(lock) => Ok(lock),
            None => bail!(
                "another macvlan-ctl run follows {name:?} already; stop it first, or let it go on (it holds {path:?})"
            ),
        }
    }

    /// Takes the lock of a container's attachment, of which this is a digest; `None` where its last holder
    /// does not let go of it within this time.
    ///
    /// # Errors
    ///
    /// `/run` is full or read-only.
    pub async fn take_for_attachment(digest: &str, patience: Duration) -> Result<Option<Self>> {
        Self::take_within(PathBuf::from(DIRECTORY).join(format!("{digest}.cni")), patience).await
    }

    /// Has a program hold the lock, too: should this process be killed, nobody else has it before that
    /// program ends.
    pub fn share_with(&self, command: &mut Command) {
        let fd = self.file.as_raw_fd();
        let keep_open = move || {
            // SAFETY: takes and gives back integers.
            match unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(keep_open) };
    }

    /// Whether somebody traces the master with this key.
    pub fn trace_runs(key: &str) -> bool {
        // For a moment only, and shared: others may look at the same time.
        let file = File::open(trace_path(key));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    async fn take_within(path: PathBuf, patience: Duration) -> Result<Option<Self>> {
        Self::take_until(path, Instant::now() + patience).await
    }

    async fn take_until(path: PathBuf, deadline: Instant) -> Result<Option<Self>> {
        loop {
            let lock = Self::try_path(&path)?;
            if lock.is_some() || Instant::now() >= deadline {
                return Ok(lock);
            }
            sleep(INTERVAL).await;
        }
    }

    fn try_path(path: &Path) -> Result<Option<Self>> {
        let deadline = Instant::now() + VANISHING;
        loop {
            let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(DIRECTORY);
            match made {
                // It was there, and another command removed it before it could be looked at.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_something_else() => {
                    continue;
                }
                other => other.with_context(|| format!("cannot make {DIRECTORY:?}"))?,
            }
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
            let file = match file {
                // Another command has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() <= deadline => {
                    continue;
                }
                other => other.with_context(|| format!("cannot open lock file {path:?}"))?,
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => {
                    crash::stop("taking a lock");
                    return Ok(Some(Self { file, path: path.to_owned() }));
                }
                // Its holder has just removed it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {path:?}"));
                }
            }
        }
    }
}

/// Whether there is something in place of our directory.
fn is_something_else() -> bool {
    fs::symlink_metadata(DIRECTORY).is_ok_and(|meta| !meta.is_dir())
}

fn is_as_we_make_it() -> bool {
    fs::symlink_metadata(DIRECTORY).is_ok_and(|meta| meta.mode() & 0o777 == DIRECTORY_MODE)
}

fn path_of(key: &MasterKey) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{key}.lock"))
}

fn trace_path(key: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{key}.trace"))
}

/// Whether the file is the one at `path`, and not one that was removed from there.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
