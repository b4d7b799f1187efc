//! Programs that run beside a test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use macvlan_tests::{fail::OrFail as _, lab::Lab};

/// A process that is killed when the test ends.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().or_fail("start a daemon"))
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
        fs::write(path, text).or_fail("write a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).or_fail("make it a program");
    });
}
