//! `xsk serve` on a port, and programs that it serves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    cli,
    daemon::Daemon,
    fail::{OrFail as _, wait_for},
    lab::{Lab, Station},
    port::Port,
};

/// The user that is served beside root; nobody on the machine has this number.
pub const USER: u32 = 4_711_001;

/// Another user.
pub const STRANGER: u32 = 4_711_002;

/// Where it listens, in a lab's mounts.
pub const SOCKET: &str = "/run/xsk.sock";

/// The command that serves sockets of a port's device.
pub fn command(lab: &Lab, port: &Port) -> Command {
    let mut command = lab.command(&port.station.ns, cli::binary());
    command.args(["xsk", "serve", &port.station.dev, SOCKET, "--uid", &USER.to_string()]);
    command
}

/// Starts it, and waits until clients may come.
#[track_caller]
pub fn serve(lab: &Lab, port: &Port) -> Daemon {
    let server = Daemon::start(command(lab, port).stdout(Stdio::null()));
    wait_for("the server to listen", || listens(port).then_some(()));
    server
}

/// Whether somebody listens there: a file alone shows that somebody has.
#[track_caller]
fn listens(port: &Port) -> bool {
    /// `__SO_ACCEPTCON` of `include/uapi/linux/net.h`.
    const LISTENING: &str = " 00010000 ";
    let sockets = port.station.ns.enter(|| fs::read_to_string("/proc/thread-self/net/unix"));
    let sockets = sockets.or_fail("list sockets");
    sockets.lines().any(|line| line.ends_with(SOCKET) && line.contains(LISTENING))
}

/// A program without any capability, of this user.
#[track_caller]
pub fn unprivileged(lab: &Lab, at: &Station, user: u32, program: &Path) -> Command {
    let mut command = as_user(lab, at, user, &["--inh-caps=-all", "--bounding-set=-all"]);
    command.arg(readable(lab, program));
    command
}

/// `setpriv` to this user, with these options, and a program to follow.
pub fn as_user(lab: &Lab, at: &Station, user: u32, options: &[&str]) -> Command {
    let mut command = lab.command(&at.ns, "setpriv");
    let user = user.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).args(options);
    command
}

/// A copy of a program where any user may run it: the source tree may be in a directory that is root's alone.
#[track_caller]
fn readable(lab: &Lab, program: &Path) -> PathBuf {
    let name = program.file_name().or_fail("name a program");
    let copy = Path::new("/run").join(name);
    lab.mounts().enter(|| {
        if !copy.exists() {
            fs::copy(program, &copy).or_fail("copy a program");
        }
    });
    copy
}
