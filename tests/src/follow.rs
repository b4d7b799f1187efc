//! The program under test as a follower: `run`, until it is told to stop.

use std::process::Child;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    fail::{OrFail as _, wait_for},
    lab::Lab,
};

/// A follower of a lab's master. Stopped when dropped.
#[derive(Debug)]
pub struct Follower {
    process: Child,
}

/// Starts a follower of the lab's master and waits until the data path is in place.
///
/// # Panics
///
/// When it ends before that.
#[track_caller]
pub fn follow(lab: &Lab) -> Follower {
    let process = lab.ctl_command(&["run", &lab.host.dev]).spawn().or_fail("start a follower");
    let mut follower = Follower { process };
    wait_for("the follower to attach", || {
        let ended = follower.process.try_wait().or_fail("look after the follower");
        assert!(ended.is_none(), "the follower ended: {ended:?}");
        let listed = lab.ctl(&["-j", "status", &lab.host.dev]).succeeded().json();
        (listed[0]["datapath"] == "bpf").then_some(())
    });
    follower
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            // It may have ended by itself; that is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}
