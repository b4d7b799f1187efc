//! The project's own tasks: `cargo xtask --help`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod artifacts;
mod bench_gate;
mod btf;
mod build_ebpf;
mod churn;
mod ci;
mod command;
mod debian;
mod dist;
mod dpdk;
mod fuzz;
mod go;
mod hygiene;
mod kustomize;
mod lanes;
mod machine;
mod object;
mod ordinary;
mod provenance;
mod remap;
mod setup_ebpf;
mod sources;
mod test;
mod toolchain;
mod unpacked;
mod validator;
mod vm;
mod workspace;

/// Builds, checks and tests macvlan-ctl.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what building the BPF object needs, each thing unless it is there
    SetupEbpf {
        /// Where the source of the compiler's library is taken from
        #[arg(long, value_enum, default_value = "auto")]
        rust_src: setup_ebpf::RustSrc,
    },
    /// Compiles the BPF programs into the object that is committed
    BuildEbpf {
        /// Write nothing; fail when the committed object is not what the sources give
        #[arg(long)]
        check: bool,
        /// Build a copy of the workspace in another directory
        #[arg(long, requires = "check")]
        elsewhere: bool,
    },
    /// Installs what the tests need and runs them all; needs root
    Test(test::Options),
    /// Searches for inputs that break what reads them
    Fuzz(fuzz::Options),
    /// Runs tests on Debian's kernels in virtual machines
    VmTest(vm::Options),
    /// Attaches, detaches, adds and removes children thousands of times; needs root
    Churn(churn::Options),
    /// Builds the static binary and the Debian package
    Dist(dist::Options),
    /// Checks rules for the project's files that no other tool knows: no import runs up the layers or in a circle, no
    /// file names one machine, every package has the lints
    Hygiene,
    /// Measures this version and an earlier one in turns, and fails where a ratio is worse; needs root
    BenchGate(bench_gate::Options),
    /// Runs all that must hold before a change is taken; needs root
    Ci {
        /// The only steps to run, by name
        steps: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = workspace::root();
    match task {
        Task::SetupEbpf { rust_src } => setup_ebpf::setup(&root, rust_src),
        Task::BuildEbpf { check: false, .. } => build_ebpf::build(&root),
        Task::BuildEbpf { check: true, elsewhere: false } => build_ebpf::check(&root),
        Task::BuildEbpf { check: true, elsewhere: true } => build_ebpf::check_elsewhere(&root),
        Task::Test(options) => test::test(&root, &options),
        Task::Fuzz(options) => fuzz::fuzz(&root, &options),
        Task::VmTest(options) => vm::test(&root, &options),
        Task::Churn(options) => churn::churn(&root, &options),
        Task::Dist(options) => dist::dist(&root, &options),
        Task::Hygiene => hygiene::check(&root),
        Task::BenchGate(options) => bench_gate::gate(&root, &options),
        Task::Ci { steps } => ci::run_steps(&root, &steps),
    }
}
