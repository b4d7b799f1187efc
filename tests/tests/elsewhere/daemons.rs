//! Real routing daemons, in the lab's namespaces: keepalived and FRR.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use macvlan_tests::{
    fail::OrFail as _,
    lab::{Lab, Station},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scene::VIRTUAL;

/// A running daemon, and the directory of its files.
#[derive(Debug)]
pub struct Daemon {
    process: Child,
    _files: tempfile::TempDir,
}

impl Daemon {
    /// A keepalived that runs the virtual router 51 with these addresses of one family, a line for each and with
    /// their prefixes, in a device of its own with the virtual MAC.
    #[track_caller]
    pub fn keepalived(lab: &Lab, at: &Station, priority: u8, addresses: &str) -> Self {
        let files = tempfile::tempdir().or_fail("make a directory");
        let config = format!(
            "global_defs {{\n vrrp_version 3\n}}\n\
             vrrp_instance router {{\n state BACKUP\n interface {}\n use_vmac\n virtual_router_id 51\n \
             priority {priority}\n advert_int 0.5\n virtual_ipaddress {{\n{addresses}\n }}\n}}\n",
            at.dev
        );
        fs::write(files.path().join("conf"), config).or_fail("write a configuration");
        let mut command = started(lab, at, "keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(files.path().join("conf"));
        command.arg("--pid").arg(files.path().join("pid"));
        command.arg("--vrrp_pid").arg(files.path().join("vrrp"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().or_fail("run keepalived"), _files: files }
    }

    /// FRR's zebra and vrrpd, which run the virtual router 51 with this address on the device `vrrp4`, made
    /// here as their documentation has it. They want users and groups of their own: shown to them alone.
    #[track_caller]
    pub fn frr(lab: &Lab, at: &Station, priority: u8, address: &str) -> Self {
        let files = tempfile::tempdir().or_fail("make a directory");
        let dev = &at.dev;
        at.ns.sysctl("ipv4/conf/all/ignore_routes_with_linkdown", 1);
        at.ns.sysctl(&format!("ipv4/conf/{dev}/ignore_routes_with_linkdown"), 1);
        at.ns.ip_batch([
            format!("link add vrrp4 link {dev} address {VIRTUAL} type macvlan mode bridge"),
            format!("addr add {address}/24 dev vrrp4"),
            "link set vrrp4 up".into(),
        ]);
        let write = |name: &str, text: String| {
            fs::write(files.path().join(name), text).or_fail("write a file");
        };
        let with = |path: &str, line: &str| fs::read_to_string(path).or_fail("read a file") + line;
        write("passwd", with("/etc/passwd", "frr:x:0:0::/:/bin/false\n"));
        write("group", with("/etc/group", "frr:x:0:\nfrrvty:x:0:\n"));
        write("zebra.conf", "hostname router\n".into());
        write(
            "vrrpd.conf",
            format!(
                "interface {dev}\n vrrp 51 version 3\n vrrp 51 priority {priority}\n \
                 vrrp 51 advertisement-interval 500\n vrrp 51 ip {address}\n"
            ),
        );
        let script = "cd \"$2\" && mount --bind passwd /etc/passwd && mount --bind group /etc/group || exit
            start() { $1 -f $PWD/$2.conf -z $PWD/zserv.api -i $PWD/$2.pid --vty_socket $PWD -A 127.0.0.1 & }
            start \"$0\" zebra; zebra=$!
            start \"$1\" vrrpd; vrrpd=$!
            trap 'kill $vrrpd; wait $vrrpd; kill $zebra; wait; exit' TERM
            wait";
        let (zebra, vrrpd) = (started(lab, at, "zebra"), started(lab, at, "vrrpd"));
        let mut command = lab.command(&at.ns, "unshare");
        command.args(["-m", "sh", "-c", script]).args([zebra.get_program(), vrrpd.get_program()]);
        command.arg(files.path());
        command.envs(zebra.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().or_fail("run FRR"), _files: files }
    }

    /// Ends it as a service manager would: a master says goodbye.
    #[track_caller]
    pub fn stop(mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGTERM).or_fail("end a daemon");
        self.process.wait().or_fail("wait for the end of a daemon");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
            let _ = self.process.wait();
        }
    }
}

/// The program of this name at a station, with the libraries that were unpacked beside it.
fn started(lab: &Lab, at: &Station, name: &str) -> Command {
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths).map(|directory| directory.join(name)).find(|file| file.is_file());
    let program = found.unwrap_or_else(|| PathBuf::from(name));
    let mut command = lab.command(&at.ns, &program);
    command.env("LD_LIBRARY_PATH", env::join_paths(libraries(&program)).or_fail("name directories"));
    command
}

/// `lib/TRIPLET` and `usr/lib/TRIPLET` of the tree that a program is in, with a directory of FRR's own.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let Some(tree) = program.ancestors().find(|tree| tree.join("usr").is_dir()) else { return Vec::new() };
    let triplets = ["lib", "usr/lib"].into_iter().filter_map(|lib| fs::read_dir(tree.join(lib)).ok());
    let all = triplets.flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let named = all.filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    named.flat_map(|path| [path.join("frr"), path]).collect()
}
