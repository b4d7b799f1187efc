//! `macvlan-ctl run`, from its start until it is dropped.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use macvlan_common::mac::Mac;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    control::members,
    fail::{OrFail as _, patience},
    lab::{Lab, Station},
};

/// A running follower, as a service manager would have it: it says when it is ready.
#[derive(Debug)]
pub struct Following<'lab> {
    lab: &'lab Lab,
    process: Child,
    /// Lines of standard output and standard error, in the order they were read.
    lines: Arc<Mutex<Vec<String>>>,
    words: Arc<Mutex<Vec<String>>>,
    path: PathBuf,
}

impl<'lab> Following<'lab> {
    /// Starts `run` with these arguments, and waits until it is ready.
    #[track_caller]
    pub fn start(lab: &'lab Lab, args: &[&str]) -> Self {
        let following = Self::launch(lab, args);
        following.wait_for_word("READY=1");
        following
    }

    /// Starts `run` with these arguments, after `prepare` had its way with the command, and waits until
    /// it is ready.
    #[track_caller]
    pub fn start_prepared(lab: &'lab Lab, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let following = Self::launch_prepared(lab, args, prepare);
        following.wait_for_word("READY=1");
        following
    }

    /// Starts `run` with these arguments.
    #[track_caller]
    pub fn launch(lab: &'lab Lab, args: &[&str]) -> Self {
        Self::launch_prepared(lab, args, |_| {})
    }

    #[track_caller]
    fn launch_prepared(lab: &'lab Lab, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("macvlan-tests-{}-{number}", std::process::id()));
        let socket = UnixDatagram::bind(&path).or_fail("open a notification socket");
        socket.set_read_timeout(Some(Duration::from_secs(1))).or_fail("set a timeout");
        let words = Arc::new(Mutex::new(Vec::new()));
        listen(socket, &words);
        let mut command = lab.ctl_command(&["run"]);
        command.args(args).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        prepare(&mut command);
        let mut process = command.spawn().or_fail("run the program under test");
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(process.stdout.take().or_fail("read standard output"), &lines);
        collect(process.stderr.take().or_fail("read standard error"), &lines);
        Self { lab, process, lines, words, path }
    }

    /// Waits until the service manager is told this, after what it was told before.
    #[track_caller]
    pub fn wait_for_word(&self, word: &str) {
        let start = Instant::now();
        while start.elapsed() < patience() {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = words.iter().position(|said| said == word) {
                words.drain(..=index);
                return;
            }
            drop(words);
            thread::sleep(Duration::from_millis(2));
        }
        panic!("it never said {word}; it printed {:#?}", self.lines());
    }

    /// Everything it printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it prints a line with this in it, and gives that.
    #[track_caller]
    pub fn wait_for_line(&self, part: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < patience() {
            if let Some(line) = self.lines().into_iter().find(|line| line.contains(part)) {
                return line;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("it never printed {part:?}, only {:#?}", self.lines());
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).or_fail(format!("send {signal}"));
    }

    /// Sends it a signal and waits for its end.
    #[track_caller]
    pub fn end(mut self, signal: Signal) -> ExitStatus {
        self.stop(signal)
    }

    /// The same; what it printed can still be read.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.process.wait().or_fail("wait for the end of the program under test")
    }

    /// Waits until the map holds exactly these children, and gives how long that took.
    #[track_caller]
    pub fn wait_for_members(&self, wanted: &[&Station]) -> Duration {
        let wanted: BTreeSet<Mac> = wanted.iter().map(|station| station.mac).collect();
        self.wait_for_macs(&wanted)
    }

    /// Waits until the map holds exactly these MACs, and gives how long that took.
    #[track_caller]
    pub fn wait_for_macs(&self, wanted: &BTreeSet<Mac>) -> Duration {
        let start = Instant::now();
        loop {
            let there = members(self.lab);
            if there == *wanted {
                return start.elapsed();
            }
            if start.elapsed() > patience() {
                let (there, wanted) = (there.len(), wanted.len());
                panic!("{there} children in the map instead of {wanted}; it printed {:#?}", self.lines());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A line of its `/proc/PID/status`.
    #[track_caller]
    pub fn proc_status(&self, key: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).or_fail("read its status");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.or_fail(format!("find {key}")).trim().to_owned()
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads what a service manager is told, so that nobody waits for it to be read.
fn listen(socket: UnixDatagram, words: &Arc<Mutex<Vec<String>>>) {
    let words = Arc::downgrade(words);
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            let received = socket.recv(&mut buffer);
            let Some(words) = words.upgrade() else { break };
            // Else nothing was said for a while.
            if let Ok(len) = received {
                let text = String::from_utf8_lossy(&buffer[..len]);
                let said = text.lines().map(str::to_owned);
                words.lock().unwrap_or_else(PoisonError::into_inner).extend(said);
            }
        }
    });
}

fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
