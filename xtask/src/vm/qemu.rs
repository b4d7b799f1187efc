//! Boots a kernel, and judges what the machine says on its serial line.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{architecture::Architecture, machines::Machine, suites::Suite};

/// How long all suites may take in one machine. Emulation is slow, and slower beside other work.
const LIMIT: Duration = Duration::from_secs(3600);

/// Begins every line of the machine's first process (`tests/src/bin/guest.rs`).
const TAG: &str = "@guest ";

/// Bits of the kernel's taint that tell of a fault: bad page, oops, warning
/// (Documentation/admin-guide/tainted-kernels.rst).
const FAULTS: u64 = 1 << 5 | 1 << 7 | 1 << 9;

/// Two network cards with a cable between them, and nothing else at the other end: a driver that runs XDP
/// itself, and that has no need to copy for it.
const NETWORK: [&str; 8] = [
    "-netdev",
    "hubport,id=one,hubid=0",
    "-netdev",
    "hubport,id=other,hubid=0",
    "-device",
    "virtio-net-pci,netdev=one,romfile=",
    "-device",
    "virtio-net-pci,netdev=other,romfile=",
];

/// How often a machine is started that does not come to its first process.
const BOOTS: usize = 3;

/// Runs the machine to its end. What it says is shown with the machine's name before each line.
///
/// # Errors
/// It does not boot or end in time, a suite fails or did not run, or the kernel had a fault.
pub fn run(machine: &Machine<'_>, architecture: Architecture, image: &Path, initramfs: &Path) -> Result<()> {
    let name = machine.name();
    let run_once = || run_once(&name, architecture, image, initramfs);
    let judge = |verdict: Verdict| verdict.judge(machine.kernel.name, &machine.suites);
    for _ in 1..BOOTS {
        let verdict = run_once()?;
        if verdict.booted {
            return judge(verdict);
        }
        // Nothing of ours has run yet: this is the emulator's fault.
        eprintln!("kernel {name} did not boot: again");
    }
    judge(run_once()?)
}

fn run_once(name: &str, architecture: Architecture, image: &Path, initramfs: &Path) -> Result<Verdict> {
    let emulator = architecture.emulator();
    let mut qemu = Command::new(emulator);
    // One processor: with more, QEMU 7.2 at times runs code that the kernel is just rewriting on another
    // (arch/x86/kernel/alternative.c), and the kernel faults.
    qemu.args(["-accel", "tcg", "-smp", "1", "-m", "1280"]).args(architecture.machine());
    qemu.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio"]);
    qemu.args(NETWORK);
    qemu.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    let console = architecture.console();
    qemu.arg("-append");
    qemu.arg(format!("console={console} loglevel=3 oops=panic panic=-1 no_timer_check rdinit=/init"));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut emulated = Emulated(qemu.spawn().with_context(|| format!("cannot run '{emulator}'"))?);
    let lines = emulated.lines()?;
    let deadline = Instant::now() + LIMIT;
    let mut verdict = Verdict::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("[{name}] {line}");
                verdict.hear(&line)?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(verdict),
            Err(RecvTimeoutError::Timeout) => bail!("the machine did not end within {} s", LIMIT.as_secs()),
        }
    }
}

/// A running emulator, which ends with this.
struct Emulated(Child);

impl Emulated {
    fn lines(&mut self) -> Result<mpsc::Receiver<String>> {
        let stdout = self.0.stdout.take().context("the emulator has no output")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        // It may have ended by itself; that is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the machine has said so far.
#[derive(Default)]
struct Verdict {
    booted: bool,
    ended: Vec<(String, i32)>,
    taint: Option<u64>,
    done: bool,
}

impl Verdict {
    fn hear(&mut self, line: &str) -> Result<()> {
        // A line of a test may have no end of its own.
        let Some((_, said)) = line.split_once(TAG) else { return Ok(()) };
        match said.split_once(' ').unwrap_or((said, "")) {
            ("begin", _) => self.booted = true,
            ("end", rest) => {
                let (code, line) =
                    rest.split_once(' ').with_context(|| format!("cannot understand {said:?}"))?;
                self.ended.push((line.to_owned(), code.parse().context("cannot read an exit code")?));
            }
            ("taint", bits) => self.taint = Some(bits.parse().context("cannot read the kernel's taint")?),
            ("done", _) => self.done = true,
            _ => {}
        }
        Ok(())
    }

    fn judge(&self, kernel: &str, suites: &[&Suite]) -> Result<()> {
        let mut faults = Vec::new();
        for suite in suites {
            match self.ended.iter().find(|(line, _)| *line == suite.line(kernel)) {
                Some((_, 0)) => {}
                Some((_, code)) => faults.push(format!("suite {:?} ended with {code}", suite.name)),
                None => faults.push(format!("suite {:?} did not run to its end", suite.name)),
            }
        }
        match self.taint {
            Some(taint) if taint & FAULTS == 0 => {}
            Some(taint) => faults.push(format!("the kernel had a fault (taint {taint:#x})")),
            None => faults.push("the machine did not come to its end".to_owned()),
        }
        ensure!(faults.is_empty() && self.done, "{}", faults.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::hardware::Hardware;

    fn judged(lines: &[&str]) -> Result<()> {
        let suite = Suite {
            name: "one",
            program: "one",
            filters: &[],
            hardware: Hardware::Cards,
            long: false,
            without: &[],
        };
        let mut verdict = Verdict::default();
        for line in lines {
            verdict.hear(line)?;
        }
        verdict.judge("6.1", &[&suite])
    }

    #[test]
    fn a_machine_has_booted_once_its_first_process_speaks() {
        let mut verdict = Verdict::default();
        verdict.hear("Kernel panic - not syncing").unwrap();
        assert!(!verdict.booted);
        verdict.hear("@guest begin /tests/one").unwrap();
        assert!(verdict.booted);
    }

    #[test]
    fn only_a_machine_whose_suites_all_ended_well_passes() {
        let end = "test x ... @guest end 0 /tests/one --test-threads=2";
        judged(&[end, "@guest taint 0", "@guest done"]).unwrap();
        assert!(judged(&["@guest taint 0", "@guest done"]).is_err());
        assert!(judged(&[end, "@guest taint 512", "@guest done"]).is_err());
        assert!(judged(&[end, "@guest failed"]).is_err());
        assert!(
            judged(&["@guest end 101 /tests/one --test-threads=2", "@guest taint 0", "@guest done"]).is_err()
        );
    }
}
