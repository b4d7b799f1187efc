//! One command at a time on each master.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::master::Master;

/// Held while a command works on a master; the kernel lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Where the lock files are. They hold nothing, so that nothing in them can be wrong.
const DIRECTORY: &str = "/run/macvlan-ctl";

/// How long to wait for another command: far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(10);

impl Lock {
    /// Waits until no other command works on `master`.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be made, or another command never ends.
    pub fn take(master: &Master) -> Result<Self> {
        let path = PathBuf::from(DIRECTORY).join(format!("{}.lock", master.key));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY);
        made.with_context(|| format!("cannot make {DIRECTORY:?}"))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open lock file {path:?}"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(INTERVAL);
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    bail!("another macvlan-ctl is at work on {:?} (it holds {path:?})", master.name)
                }
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {path:?}"));
                }
            }
        }
    }
}
