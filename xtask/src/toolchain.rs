//! What the BPF object is built with: the versions it asks for, and what this machine has.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    command::{self, read, run},
    workspace::read_text,
};

/// The file of the versions, relative to the workspace.
pub const PINS: &str = "bpf-toolchain.toml";

/// The versions asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pins {
    /// Release of the compiler and of its library's source.
    pub rust: String,
    /// Release of `bpf-linker`.
    pub bpf_linker: String,
    /// The Debian suite that carries the library's source.
    pub debian_suite: String,
}

impl Pins {
    /// Reads the workspace's file.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(PINS);
        toml::from_str(&read_text(&path)?).with_context(|| format!("cannot parse '{}'", path.display()))
    }
}

/// What this machine has.
#[derive(Debug)]
pub struct Toolchain {
    /// The compiler as `rustc --version` names it, commit included.
    pub rustc: String,
    /// Its release alone.
    pub release: String,
    /// Where it is installed.
    pub sysroot: PathBuf,
    /// Cargo's home.
    pub cargo_home: PathBuf,
    /// `bpf-linker`, where there is one.
    pub linker: Option<Linker>,
}

/// An installed `bpf-linker`.
#[derive(Debug)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Its release.
    pub release: String,
}

impl Toolchain {
    /// Looks at the machine.
    ///
    /// # Errors
    /// There is no compiler, or it does not say what it is.
    pub fn find() -> Result<Self> {
        let rustc = read(Command::new("rustc").arg("--version"))?.trim().to_owned();
        let release = release(&rustc).with_context(|| format!("cannot tell the release of '{rustc}'"))?;
        let sysroot = read(Command::new("rustc").args(["--print", "sysroot"]))?.trim().into();
        let cargo_home = cargo_home()?;
        let linker = Linker::find(&cargo_home)?;
        Ok(Self { release: release.to_owned(), rustc, sysroot, cargo_home, linker })
    }

    /// Installs the compiled library for a target, unless it is there.
    ///
    /// # Errors
    /// rustup cannot fetch it.
    pub fn install_target(&self, target: &str) -> Result<()> {
        if self.sysroot.join("lib/rustlib").join(target).join("lib").is_dir() {
            return Ok(());
        }
        run(Command::new("rustup").args(["target", "add", target]))
    }

    /// Where the source of the compiler's library belongs.
    #[must_use]
    pub fn rust_src(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// Whether that source is there.
    #[must_use]
    pub fn has_rust_src(&self) -> bool {
        let library = self.rust_src().join("library");
        library.join("Cargo.lock").is_file() && library.join("core/src/lib.rs").is_file()
    }

    /// Whether `bpf-linker` is of the release asked for.
    #[must_use]
    pub fn has_linker(&self, pins: &Pins) -> bool {
        self.linker.as_ref().is_some_and(|linker| linker.release == pins.bpf_linker)
    }

    /// Why the object cannot be built here, with the remedy; `None` when it can.
    #[must_use]
    pub fn lack(&self, pins: &Pins) -> Option<String> {
        if let Some(lack) = self.wrong_compiler(pins) {
            Some(lack)
        } else if !self.has_rust_src() {
            Some(format!("rust-src {} is not installed: run `cargo xtask setup-ebpf`", pins.rust))
        } else if !self.has_linker(pins) {
            Some(format!("bpf-linker {} is not installed: run `cargo xtask setup-ebpf`", pins.bpf_linker))
        } else {
            None
        }
    }

    /// What to do about a compiler of another release; `None` when it is the one asked for.
    #[must_use]
    pub fn wrong_compiler(&self, pins: &Pins) -> Option<String> {
        (self.release != pins.rust).then(|| {
            format!(
                "the object is built with Rust {wanted}, this is {}: run `rustup toolchain install {wanted}`, \
                 then `cargo +{wanted} xtask ...`",
                self.release,
                wanted = pins.rust
            )
        })
    }
}

impl Linker {
    /// Cargo's own binaries come first: there `setup-ebpf` installs.
    fn find(cargo_home: &Path) -> Result<Option<Self>> {
        let own = cargo_home.join("bin/bpf-linker");
        let Some(path) = Some(own).filter(|own| own.is_file()).or_else(|| command::find("bpf-linker")) else {
            return Ok(None);
        };
        let version = read(Command::new(&path).arg("--version"))?;
        let release = release(&version).with_context(|| format!("cannot tell the release of '{version}'"))?;
        Ok(Some(Self { release: release.to_owned(), path }))
    }
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    match std::env::home_dir() {
        Some(home) => Ok(home.join(".cargo")),
        None => bail!("cannot tell where cargo keeps its files: set CARGO_HOME"),
    }
}

/// The second word of what `--version` prints.
fn release(version: &str) -> Option<&str> {
    version.split_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_second_word() {
        assert_eq!(release("rustc 1.95.0 (59807616e 2026-04-14)"), Some("1.95.0"));
        assert_eq!(release("bpf-linker 0.10.3\n"), Some("0.10.3"));
        assert_eq!(release("rustc"), None);
    }

    #[test]
    fn another_compiler_is_refused_with_the_remedy() {
        let pins = Pins { rust: "1.2.3".into(), bpf_linker: "0.1.0".into(), debian_suite: "none".into() };
        let lack = toolchain("1.3.0").lack(&pins).unwrap();
        assert!(lack.contains("`rustup toolchain install 1.2.3`"), "{lack}");
        let lack = toolchain("1.2.3").lack(&pins).unwrap();
        assert!(lack.contains("`cargo xtask setup-ebpf`"), "{lack}");
    }

    #[test]
    fn the_workspace_says_what_it_wants() {
        let pins = Pins::open(&crate::workspace::root()).unwrap();
        assert!(pins.rust.starts_with("1."), "{pins:?}");
    }

    fn toolchain(release: &str) -> Toolchain {
        Toolchain {
            rustc: format!("rustc {release}"),
            release: release.into(),
            sysroot: "/nowhere".into(),
            cargo_home: "/nowhere".into(),
            linker: None,
        }
    }
}
