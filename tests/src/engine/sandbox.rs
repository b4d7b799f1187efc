//! Where an engine lives: namespaces that take all of it along when they end.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use macvlan_bench::lab::mounts::cover;
use nix::mount::{MsFlags, mount};

use crate::{fail::OrFail as _, lab::Lab, mounts::Mounts};

/// Directories that engines write to and that are not below `/run`, where they are.
const STATE: [&str; 2] = ["/var/lib", "/etc/docker"];

/// Tells the machine's number of this process, then waits for the end of input: so it ends with
/// the test, however that ends. As process 1 of its namespace it takes all others along.
const KEEPER: &str =
    "read -r pid rest </proc/self/stat && mount -t proc proc /proc && echo \"$pid\" && exec cat";

/// Where daemons say what they do.
const LOG: &str = "/run/engine.log";
const LAST_LINES: usize = 20;

/// A process namespace in a lab's host. Its mounts are the lab's, but for `/proc`.
#[derive(Debug)]
pub struct Sandbox {
    mounts: Arc<Mounts>,
    keeper: Child,
    init: String,
    /// Those that outlive the call that started them.
    daemons: Mutex<Vec<Child>>,
}

impl Sandbox {
    /// A new one, with empty directories for the state of an engine.
    #[track_caller]
    pub fn new(lab: &Lab) -> Self {
        let mounts = lab.mounts().clone();
        mounts.enter(|| {
            STATE
                .into_iter()
                .filter(|path| Path::new(path).is_dir())
                .for_each(|path| cover("tmpfs", path).or_fail("hide a directory"));
            // What the engine mounts there, above all namespaces, the lab is to see.
            let shared = mount(None::<&str>, "/run", None::<&str>, MsFlags::MS_SHARED, None::<&str>);
            shared.or_fail("share /run");
        });
        let mut keeper = lab.command(&lab.host.ns, "unshare");
        keeper.args(["--mount", "--propagation=unchanged", "--pid", "--fork", "sh", "-c", KEEPER]);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().or_fail("run `unshare`");
        let mut init = String::new();
        let mut told = BufReader::new(keeper.stdout.take().or_fail("read from `unshare`"));
        told.read_line(&mut init).or_fail("read a process id");
        let init = init.trim().to_owned();
        assert!(!init.is_empty(), "cannot make a process namespace: {:?}", keeper.wait());
        Self { mounts, keeper, init, daemons: Mutex::default() }
    }

    /// The lab's mounts.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--mount", "--net", "--pid", "--", program]);
        command.stdin(Stdio::null());
        command
    }

    /// The processes inside and those in cgroups of this name, each as its directory in `/proc`.
    pub fn processes(&self, cgroup: &str) -> Vec<PathBuf> {
        let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
        let own = namespace(&Path::new("/proc").join(&self.init));
        let is_ours = |process: &PathBuf| {
            let cgroups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            cgroups.contains(cgroup) || (own.is_some() && namespace(process) == own)
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(is_ours).collect()
    }

    /// Starts a command that runs as long as the sandbox is there. What it says is shown when the
    /// test fails.
    #[track_caller]
    pub fn spawn(&self, mut command: Command) {
        let open = || File::options().create(true).append(true).open(LOG);
        let log = self.mounts.enter(open).or_fail("make a log");
        command.stdout(Stdio::null()).stderr(log);
        let daemon = command.spawn().or_fail("start an engine");
        self.daemons.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(daemon);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.mounts.enter(|| fs::read_to_string(LOG)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
            lines.iter().rev().for_each(|line| eprintln!("engine: {line}"));
        }
        drop(self.keeper.stdin.take());
        let daemons = self.daemons.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // They are dead, or about to be: only their ends are to be waited for.
        for process in daemons.iter_mut().chain([&mut self.keeper]) {
            let _ = process.wait();
        }
    }
}
