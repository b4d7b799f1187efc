//! `dpdk-testpmd`, a real DPDK program, on one device.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::fail::{OrFail as _, wait_for};

/// What DPDK is told of the machine: two threads on whatever processors, ordinary pages, no PCI devices.
const MACHINE: [&str; 7] = ["--lcores", "0@0,1@0", "--no-huge", "-m", "64", "--no-pci", "--no-telemetry"];

/// It runs until this is dropped.
#[derive(Debug)]
pub struct Testpmd {
    process: Child,
    _input: Option<ChildStdin>,
    output: Arc<Mutex<String>>,
}

impl Testpmd {
    /// Starts it by this command, with these parameters of `net_af_xdp` and this way of forwarding.
    #[track_caller]
    pub fn start(command: &mut Command, device: &str, forward: &str) -> Self {
        command.args(MACHINE).args(["--vdev", &format!("net_af_xdp0,{device}"), "--"]);
        command.args([&format!("--forward-mode={forward}"), "--total-num-mbufs=4096", "--no-mlockall"]);
        // Without a line to read it goes on.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().or_fail("start dpdk-testpmd");
        let stdout = process.stdout.take().or_fail("read what it prints");
        let output = Arc::new(Mutex::new(String::new()));
        let printed = Arc::clone(&output);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                printed.push_str(&line);
                printed.push('\n');
            }
        });
        Self { _input: process.stdin.take(), process, output }
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let says = || self.output().contains(text).then_some(());
        wait_for(format_args!("dpdk-testpmd to say {text:?}"), says);
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
