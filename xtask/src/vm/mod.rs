//! `vm-test`: the suites that depend on the kernel, on each of Debian's kernels, under QEMU.
//!
//! The machines are emulated in software, so that this works where there is no KVM, and in a machine
//! that is itself virtual. Kernels are unpacked below `target/vm`; nothing is installed from them.

mod architecture;
mod guest;
mod hardware;
mod kernels;
mod machines;
mod qemu;
mod suites;
mod tools;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::{
    architecture::Architecture,
    guest::Programs,
    hardware::Hardware,
    kernels::KERNELS,
    machines::{Machine, machines},
    suites::SUITES,
};
use crate::command::run;

/// Which kernels, and what is run on them.
#[derive(Args, Default)]
pub struct Options {
    /// The processor that is emulated
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    arch: Architecture,
    /// One of these kernels alone: 5.10, 6.1, 6.12, newest; may be given again
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<String>,
    /// One of these suites alone; may be given again
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// The long suites too
    #[arg(long)]
    all: bool,
}

impl Options {
    /// What stands for the rest within minutes: every program on every verifier; every kind of master and every rung of
    /// the ladder on the oldest kernel and the newest, between which the others are.
    pub fn quick() -> [Self; 2] {
        let named = |kernels: &[&str], suites: &[&str]| {
            let [kernels, suites] =
                [kernels, suites].map(|names| names.iter().map(ToString::to_string).collect());
            Self { kernels, suites, ..Self::default() }
        };
        [
            named(&["5.10", "newest"], &["verifier", "masters", "ladder"]),
            named(&["6.1", "6.12"], &["verifier"]),
        ]
    }
}

/// Machines that run at the same time. Each has one processor.
const AT_ONCE: usize = 2;

/// Boots every kernel and runs every suite in it.
///
/// # Errors
/// No suite is for this processor, a kernel is unavailable or does not boot, or a test fails on it.
pub fn test(root: &Path, options: &Options) -> Result<()> {
    let kernels = chosen(KERNELS.iter(), |kernel| kernel.name, &options.kernels)?;
    let mut suites = chosen(SUITES.iter(), |suite| suite.name, &options.suites)?;
    suites.retain(|suite| options.all || !suite.long || !options.suites.is_empty());
    let architecture = options.arch;
    suites.retain(|suite| architecture.has(suite.hardware));
    ensure!(!suites.is_empty(), "none of these suites is run on this processor");
    let hardware = suites.iter().map(|suite| suite.hardware).max().unwrap_or(Hardware::Cards);
    architecture.install_tools(hardware)?;
    let directory = root.join("target/vm").join(architecture.debian());
    let programs = Programs::build(root, architecture, hardware, &directory, &suites::programs(&suites))?;
    // The last first: its machine takes longest.
    let waiting = Mutex::new(machines(&kernels, &suites));
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(machine) = pop(&waiting) {
                    let start = Instant::now();
                    let outcome = test_on(&machine, architecture, &programs, &directory);
                    push(&outcomes, (machine.name(), start.elapsed(), outcome));
                }
            });
        }
    });
    report(outcomes.into_inner().unwrap_or_default())
}

fn pop<T>(list: &Mutex<Vec<T>>) -> Option<T> {
    list.lock().ok()?.pop()
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut list) = list.lock() {
        list.push(item);
    }
}

/// How long each machine took, and which failed.
fn report(mut outcomes: Vec<(String, Duration, Result<()>)>) -> Result<()> {
    outcomes.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut failed = Vec::new();
    for (kernel, time, outcome) in &outcomes {
        let seconds = time.as_secs_f64();
        match outcome {
            Ok(()) => eprintln!("{seconds:>7.1} s  kernel {kernel} passed"),
            Err(error) => {
                eprintln!("{seconds:>7.1} s  kernel {kernel} failed: {error:#}");
                failed.push(kernel.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "the tests failed on kernel {}", failed.join(", "));
    ensure!(!outcomes.is_empty(), "no kernel was booted");
    Ok(())
}

/// Those of these names, or all.
fn chosen<'a, T>(
    all: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> &'static str,
    wanted: &[String],
) -> Result<Vec<&'a T>> {
    let all: Vec<&T> = all.collect();
    let known = || all.iter().map(|item| name(item)).collect::<Vec<_>>();
    if let Some(unknown) = wanted.iter().find(|wanted| !known().contains(&wanted.as_str())) {
        bail!("there is no {unknown:?}, only {}", known().join(", "));
    }
    Ok(all
        .iter()
        .copied()
        .filter(|item| wanted.is_empty() || wanted.iter().any(|w| w == name(item)))
        .collect())
}

fn test_on(
    machine: &Machine<'_>,
    architecture: Architecture,
    programs: &Programs,
    directory: &Path,
) -> Result<()> {
    let Machine { kernel, hardware, suites } = machine;
    let unpacked = kernel.unpack(architecture, *hardware, directory);
    let unpacked = unpacked.with_context(|| format!("cannot get kernel {}", kernel.name))?;
    let scratch = tempfile::tempdir_in(directory)
        .with_context(|| format!("cannot write in '{}'", directory.display()))?;
    let tree = scratch.path().join("tree");
    programs.put(&tree)?;
    unpacked.put_modules(*hardware, &tree)?;
    let lines: String = suites.iter().map(|suite| suite.line(kernel.name) + "\n").collect();
    fs::write(tree.join("guest/programs"), lines).context("cannot write the list of programs")?;
    let archive = scratch.path().join("initramfs");
    pack(&tree, &archive)?;
    eprintln!("\n=== kernel {}", unpacked.release);
    qemu::run(machine, architecture, &unpacked.image, &archive)
        .with_context(|| format!("kernel {}", unpacked.release))
}

/// Makes an initial file system of a directory.
fn pack(tree: &Path, archive: &Path) -> Result<()> {
    // The shell's `|` ends well whenever `cpio` does; an unreadable tree shows in what it packs.
    let mut pack = Command::new("sh");
    pack.current_dir(tree)
        .args(["-c", r#"find . | cpio --create --quiet --format=newc > "$0""#])
        .arg(archive);
    run(&mut pack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_chosen_by_its_name() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            chosen(KERNELS.iter(), |kernel| kernel.name, &wanted)
                .map(|kernels| kernels.iter().map(|kernel| kernel.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["6.1"]).unwrap(), ["6.1"]);
        assert_eq!(names(&[]).unwrap().len(), KERNELS.len());
        assert!(names(&["4.19"]).unwrap_err().to_string().contains("5.10, 6.1, 6.12, newest"));
    }
}
