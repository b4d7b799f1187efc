//! Programs that run beside a test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{fail::OrFail as _, lab::Lab};

/// A process that is killed when the test ends.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts it, with nothing to read. What it prints is for nobody, unless the command says where that goes.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        Self(command.stdin(Stdio::null()).spawn().or_fail(format!("start {program}")))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).or_fail(format!("send {signal}"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a file, which may be run, where programs of this lab alone see it: below `/run`.
#[track_caller]
pub fn write(lab: &Lab, path: &str, text: &str) {
    lab.mounts().enter(|| {
        fs::write(path, text).or_fail(format!("write {path}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).or_fail("make it a program");
    });
}
