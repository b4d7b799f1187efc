//! A trace that runs beside the test.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    fail::{OrFail as _, wait_for},
    frames::Marker,
    lab::Lab,
};

/// Lines that another thread reads.
type Lines = Arc<Mutex<Vec<String>>>;

/// `macvlan-ctl -v -j trace MASTER`, killed when dropped.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a trace did.
#[derive(Debug)]
pub struct Traced {
    /// How it ended.
    pub status: ExitStatus,
    /// What it told, in order.
    pub events: Vec<Value>,
    /// Its standard error.
    pub stderr: String,
}

impl Tracer {
    /// Starts it with these further arguments, and waits until it is in place.
    #[track_caller]
    pub fn start(lab: &Lab, args: &[&str]) -> Self {
        let tracer = Self::spawn(lab, args, true);
        tracer.wait_until_in_place();
        tracer
    }

    /// As [`start`](Self::start), but nobody reads what it prints.
    #[track_caller]
    pub fn start_unread(lab: &Lab, args: &[&str]) -> Self {
        let tracer = Self::spawn(lab, args, false);
        tracer.wait_until_in_place();
        tracer
    }

    /// As [`start`](Self::start), but gives it no time to be in place.
    #[track_caller]
    pub fn begin(lab: &Lab, args: &[&str]) -> Self {
        Self::spawn(lab, args, true)
    }

    #[track_caller]
    fn spawn(lab: &Lab, args: &[&str], is_read: bool) -> Self {
        let mut line = vec!["-v", "-j", "trace", lab.host.dev.as_str()];
        line.extend(args);
        let mut command = lab.ctl_command(&line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().or_fail("start a trace");
        let stdout = Lines::default();
        if is_read {
            collect(child.stdout.take().or_fail("read a trace"), &stdout);
        }
        let stderr = Lines::default();
        collect(child.stderr.take().or_fail("read a trace's errors"), &stderr);
        Self { child, stdout, stderr }
    }

    #[track_caller]
    fn wait_until_in_place(&self) {
        let is_said = || self.stderr().contains("macvlan-ctl: tracing").then_some(());
        wait_for("the trace to be in place", is_said);
    }

    /// What it has told so far.
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).or_fail(format!("read JSON {line:?}"));
        lock(&self.stdout).iter().map(parse).collect()
    }

    /// What it has told of frames with this marker.
    pub fn of(&self, marker: Marker) -> Vec<Value> {
        self.events().into_iter().filter(|event| is_of(event, marker)).collect()
    }

    /// Waits until it has told so many times of frames with this marker.
    #[track_caller]
    pub fn wait_for(&self, marker: Marker, count: usize) {
        wait_for(format_args!("{count} events"), || (self.of(marker).len() >= count).then_some(()));
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).or_fail("send a signal to a trace");
    }

    /// Stops it as Ctrl-C does.
    #[track_caller]
    pub fn stop(self) -> Traced {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    /// Kills it; it puts nothing back then.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().or_fail("kill a trace");
        self.child.wait().or_fail("wait for a trace");
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(mut self) -> Traced {
        let status = wait_for("the trace to end", || self.child.try_wait().or_fail("wait for a trace"));
        // Its pipes close with it; the threads that read them hold the lists until then.
        wait_for("the end of what a trace says", || {
            (Arc::strong_count(&self.stdout) + Arc::strong_count(&self.stderr) == 2).then_some(())
        });
        Traced { status, events: self.events(), stderr: self.stderr() }
    }

    fn stderr(&self) -> String {
        lock(&self.stderr).join("\n")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the frame of this event has this marker.
pub fn is_of(event: &Value, marker: Marker) -> bool {
    let head = event["head"].as_str().or_fail("read the head of a frame");
    let hex: String = marker.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    head.contains(&hex)
}

fn collect(from: impl Read + Send + 'static, to: &Lines) {
    let to = to.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            // A killed trace may leave a line unfinished.
            let Ok(line) = line else { break };
            lock(&to).push(line);
        }
    });
}

fn lock(lines: &Lines) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
