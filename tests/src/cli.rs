//! Running commands, above all the one under test.

use std::{
    env,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::fail::{OrFail as _, patience};

/// The program under test: `MACVLAN_CTL_BIN`, or what `cargo build` made.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("MACVLAN_CTL_BIN") {
        return path.into();
    }
    workspace().join("target/debug/macvlan-ctl")
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Its exit code.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().or_fail(format!("read the exit code of {self:?}"))
    }

    /// Itself, when it ended well.
    ///
    /// # Panics
    ///
    /// When it did not.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}", self.report());
        self
    }

    /// Its one line of error, when it ended with this code.
    ///
    /// # Panics
    ///
    /// When it ended otherwise, or said nothing or more than a line.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code(), code, "{}", self.report());
        let message = self.stderr.trim_end();
        assert_eq!(message.lines().count(), 1, "one line of error is wanted\n{}", self.report());
        message
    }

    /// What is wrong with the command line, in one line; how it is to be follows.
    ///
    /// # Panics
    ///
    /// When it took the command line, or failed for another reason.
    #[track_caller]
    pub fn misused(&self) -> &str {
        assert_eq!(self.code(), 2, "{}", self.report());
        self.stderr.lines().next().unwrap_or_default()
    }

    /// Its standard output, read as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).or_fail(format!("read JSON\n{}", self.report()))
    }

    /// Everything about it, for a message.
    pub fn report(&self) -> String {
        let Self { line, status, stdout, stderr } = self;
        format!("{line}\n{status}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// Runs a command to its end and gives back what it printed.
///
/// # Panics
///
/// When it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    output(command).succeeded().stdout
}

/// Runs a command to its end.
///
/// # Panics
///
/// When it does not start, or does not end in time.
#[track_caller]
pub fn output(command: &mut Command) -> Ran {
    let line = line(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().or_fail(format!("run {line}"));
    let stdout = child.stdout.take().or_fail("read standard output");
    let stderr = child.stderr.take().or_fail("read standard error");
    thread::scope(|scope| {
        let stdout = scope.spawn(move || text(stdout));
        let stderr = scope.spawn(move || text(stderr));
        let (start, patience) = (Instant::now(), patience());
        let status = loop {
            if let Some(status) = child.try_wait().or_fail(format!("wait for {line}")) {
                break status;
            }
            if start.elapsed() > patience {
                // It may have ended just now; that is as good.
                let _ = child.kill();
                panic!("{line} did not end within {patience:?}");
            }
            thread::sleep(Duration::from_millis(1));
        };
        let joined = |reader: thread::ScopedJoinHandle<'_, io::Result<String>>| {
            reader.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)).or_fail("read output")
        };
        Ran { line: line.clone(), status, stdout: joined(stdout), stderr: joined(stderr) }
    })
}

fn text(mut from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
