//! `setup-ebpf`: installs what building the BPF object needs and this machine lacks.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    command::{run, run_within},
    debian,
    toolchain::{Pins, Toolchain},
};

/// How long rustup may try: it waits long for a server that does not answer.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Where the source of the compiler's library is taken from.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RustSrc {
    /// From rustup, else from Debian.
    Auto,
    /// From rustup only.
    Rustup,
    /// From Debian only.
    Debian,
}

/// Installs the library's source and `bpf-linker`, each unless it is there.
///
/// # Errors
/// The compiler is not the one the object is built with, or something cannot be installed.
pub fn setup(root: &Path, from: RustSrc) -> Result<()> {
    let pins = Pins::open(root)?;
    let toolchain = Toolchain::find()?;
    if let Some(lack) = toolchain.wrong_compiler(&pins) {
        bail!(lack);
    }
    if toolchain.has_rust_src() {
        eprintln!("rust-src {} is there: {}", pins.rust, toolchain.rust_src().display());
    } else {
        install_rust_src(&toolchain, &pins, from)?;
    }
    if toolchain.has_linker(&pins) {
        eprintln!("bpf-linker {} is there", pins.bpf_linker);
    } else {
        run(Command::new("cargo").args(["install", "bpf-linker", "--locked", "--version", &pins.bpf_linker]))
            .with_context(|| format!("cannot install bpf-linker {}", pins.bpf_linker))?;
    }
    match Toolchain::find()?.lack(&pins) {
        Some(lack) => bail!("installed, but {lack}"),
        None => Ok(()),
    }
}

fn install_rust_src(toolchain: &Toolchain, pins: &Pins, from: RustSrc) -> Result<()> {
    match from {
        RustSrc::Rustup => rustup(),
        RustSrc::Debian => debian::install_rust_src(toolchain, pins),
        RustSrc::Auto => rustup().or_else(|error| {
            eprintln!("{error:#}; trying Debian");
            debian::install_rust_src(toolchain, pins)
        }),
    }?;
    ensure!(
        toolchain.has_rust_src(),
        "rust-src was installed, but '{}' has no library",
        toolchain.rust_src().display()
    );
    Ok(())
}

fn rustup() -> Result<()> {
    run_within(Command::new("rustup").args(["component", "add", "rust-src"]), RUSTUP_LIMIT)
        .context("cannot get rust-src from rustup")
}
