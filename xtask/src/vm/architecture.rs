//! The processors that machines are emulated with.

use std::{path::Path, process::Command};

use anyhow::Result;
use clap::ValueEnum;

use super::hardware::Hardware;
use crate::{command::cargo, machine, toolchain::Toolchain};

/// A processor by its name in Rust's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// The one that this is developed on.
    #[default]
    #[value(name = "x86_64")]
    X86,
    /// 64-bit Arm: programs are cross-compiled, tools come from Debian's packages.
    #[value(name = "aarch64")]
    Arm,
}

impl Architecture {
    /// Its name in Debian.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// The Rust target that programs are built for, where that is not this machine's own.
    pub const fn cross_target(self) -> Option<&'static str> {
        match self {
            Self::X86 => None,
            Self::Arm => Some("aarch64-unknown-linux-gnu"),
        }
    }

    /// The emulator.
    pub const fn emulator(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86_64",
            Self::Arm => "qemu-system-aarch64",
        }
    }

    /// The machine that it emulates.
    pub const fn machine(self) -> &'static [&'static str] {
        match self {
            // Without cmpxchg16b: it is emulated with wrong flags at times, and the allocator (mm/slub.c)
            // does without where there is none.
            Self::X86 => &["-cpu", "max,-cx16"],
            // With what the kernel's compiler of BPF makes use of; pointers signed by what is cheap to emulate.
            Self::Arm => &["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// The serial line of that machine, as the kernel calls it.
    pub const fn console(self) -> &'static str {
        match self {
            Self::X86 => "ttyS0",
            Self::Arm => "ttyAMA0",
        }
    }

    /// Whether machines with it have this hardware: radios, where their tools are this machine's.
    pub fn has(self, hardware: Hardware) -> bool {
        hardware != Hardware::Radios || self.cross_target().is_none()
    }

    /// What takes symbols out of its programs.
    pub const fn strip(self) -> &'static str {
        match self {
            Self::X86 => "strip",
            Self::Arm => "aarch64-linux-gnu-strip",
        }
    }

    /// Installs what emulating it with this hardware and building for it takes.
    ///
    /// # Errors
    /// Something cannot be installed.
    pub fn install_tools(self, hardware: Hardware) -> Result<()> {
        machine::install_vm_tools()?;
        machine::install_each(hardware.tools())?;
        let Some(target) = self.cross_target() else { return Ok(()) };
        machine::install_cross_tools()?;
        Toolchain::find()?.install_target(target)
    }

    /// Cargo, building for it.
    pub fn cargo(self, root: &Path, line: &[&str]) -> Command {
        let mut cargo = cargo(root);
        cargo.args(line);
        if let Some(target) = self.cross_target() {
            cargo.args(["--target", target]);
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        }
        cargo
    }
}
