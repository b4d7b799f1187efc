//! Packages of Debian's suites: the source of the compiler's library, for machines whose rustup cannot
//! fetch it, kernels to test on, and what tests of others need.
//!
//! The machine's own package sources say where the archive is; they and everything else that
//! belongs to apt stay as they are, and no package is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    command::{read, run},
    toolchain::{Pins, Toolchain},
};

/// Debian's signing keys, those of later releases included.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks Debian's `rust-src` of the compiler's release into the sysroot.
///
/// # Errors
/// The machine has no Debian package source, or the suite does not carry that release.
pub fn install_rust_src(toolchain: &Toolchain, pins: &Pins) -> Result<()> {
    let rust_src = toolchain.rust_src();
    fs::create_dir_all(&rust_src).with_context(|| format!("cannot create '{}'", rust_src.display()))?;
    // Beside its place, so that the last step is a rename.
    let scratch =
        TempDir::new_in(&rust_src).with_context(|| format!("cannot write in '{}'", rust_src.display()))?;

    let package = Apt::new(scratch.path(), &pins.debian_suite, None)
        .and_then(|apt| apt.download("rust-src", &pins.rust))
        .context("run `rustup component add rust-src` instead")?;
    let unpacked = scratch.path().join("unpacked");
    run(Command::new("dpkg").arg("-x").args([&package, &unpacked]))?;

    let library = unpacked.join(format!("usr/src/rustc-{}/library", pins.rust));
    fs::rename(&library, rust_src.join("library"))
        .with_context(|| format!("cannot move '{}' to '{}'", library.display(), rust_src.display()))
}

/// apt with package lists and caches of its own.
pub struct Apt {
    directory: PathBuf,
    architecture: Option<&'static str>,
}

impl Apt {
    /// One that knows this suite and no other, for the machine's own architecture or another one; its files
    /// are below `scratch`.
    ///
    /// # Errors
    /// The machine has no Debian package source, or its archive has no such suite.
    pub fn new(scratch: &Path, suite: &str, architecture: Option<&'static str>) -> Result<Self> {
        Self::reading(scratch, architecture, suite, &[BINARIES])
    }

    /// One that knows this suite's packages for the machine's own architecture, and their sources.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_sources(scratch: &Path, suite: &str) -> Result<Self> {
        Self::reading(scratch, None, suite, &[BINARIES, SOURCES])
    }

    fn reading(
        scratch: &Path,
        architecture: Option<&'static str>,
        suite: &str,
        kinds: &[&str],
    ) -> Result<Self> {
        let apt = Self { directory: scratch.join("apt"), architecture };
        for directory in ["lists/partial", "cache/archives/partial"] {
            let directory = apt.directory.join(directory);
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create '{}'", directory.display()))?;
        }
        let sources = apt.directory.join("sources.list");
        let archive = archive()?;
        let lines: String = kinds.iter().map(|kind| source_line(kind, &archive, suite)).collect();
        fs::write(&sources, lines).with_context(|| format!("cannot write '{}'", sources.display()))?;
        run(apt.get().arg("update")).with_context(|| format!("cannot read Debian's suite '{suite}'"))?;
        Ok(apt)
    }

    /// The newest package of this upstream release.
    fn download(&self, package: &str, release: &str) -> Result<PathBuf> {
        run(self.get().arg("download").arg(format!("{package}={release}+*")))
            .with_context(|| format!("cannot download Debian's {package} {release}"))?;
        let entries = fs::read_dir(&self.directory)
            .with_context(|| format!("cannot list '{}'", self.directory.display()))?;
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get left no {package} in '{}'", self.directory.display()))
    }

    /// Names of the packages that `package` needs, those included that they need in turn.
    ///
    /// # Errors
    /// The suite has no such package.
    pub fn needed_by(&self, package: &str) -> Result<Vec<String>> {
        let mut depends = self.command("apt-cache");
        depends.args(["depends", "--recurse", "--important", package]);
        let names = read(&mut depends).with_context(|| format!("Debian has no package {package}"))?;
        // What is indented tells of a package that was named before.
        let names = names.lines().filter(|line| !line.starts_with([' ', '|', '<']));
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads these packages and unpacks them all into `directory`; installs nothing.
    ///
    /// # Errors
    /// A package cannot be downloaded or unpacked.
    pub fn unpack(&self, packages: &[String], directory: &Path) -> Result<()> {
        run(self.get().arg("download").args(packages)).context("cannot download Debian packages")?;
        let unlisted = || format!("cannot list '{}'", self.directory.display());
        for entry in fs::read_dir(&self.directory).with_context(unlisted)? {
            let path = entry.with_context(unlisted)?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("-x").args([path.as_path(), directory]))?;
            }
        }
        Ok(())
    }

    /// Downloads the source of a package as its authors gave it, and unpacks it into `directory`.
    ///
    /// # Errors
    /// It cannot be downloaded or unpacked.
    pub fn unpack_source(&self, package: &str, directory: &Path) -> Result<()> {
        run(self.get().args(["source", "--download-only", "--tar-only", package]))
            .with_context(|| format!("cannot download the source of Debian's {package}"))?;
        let entries = fs::read_dir(&self.directory)
            .with_context(|| format!("cannot list '{}'", self.directory.display()))?;
        let archive = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.to_string_lossy().contains(".orig.tar."))
            .with_context(|| format!("apt-get left no source of {package}"))?;
        fs::create_dir_all(directory).with_context(|| format!("cannot create '{}'", directory.display()))?;
        let mut tar = Command::new("tar");
        run(tar.arg("-x").arg("-f").arg(&archive).args(["--strip-components=1", "-C"]).arg(directory))
    }

    fn get(&self) -> Command {
        self.command("apt-get")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory).arg("--quiet");
        for (option, file) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.directory.join(file).display()));
        }
        // The sandbox's user cannot enter the scratch directory.
        for option in
            ["Dir::Etc::SourceParts=/dev/null", "Acquire::Languages=none", "APT::Sandbox::User=root"]
        {
            command.args(["-o", option]);
        }
        if let Some(architecture) = self.architecture {
            for option in ["APT::Architecture", "APT::Architectures::"] {
                command.arg("-o").arg(format!("{option}={architecture}"));
            }
        }
        command
    }
}

/// The address of Debian's archive, as the machine's own sources have it.
fn archive() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)"]);
    targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"]);
    let list = read(&mut targets).context("cannot ask apt for its sources")?;
    match list.lines().next() {
        Some(archive) => Ok(archive.to_owned()),
        None => bail!("this machine's apt has no Debian source to take packages from"),
    }
}

/// What a line of apt's sources is for.
const BINARIES: &str = "deb";
const SOURCES: &str = "deb-src";

fn source_line(kind: &str, archive: &str, suite: &str) -> String {
    format!("{kind} [signed-by={KEYRING}] {archive} {suite} main\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_signed_by_debian() {
        assert_eq!(
            source_line(BINARIES, "mirror:/debian/", "stable"),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] mirror:/debian/ stable main\n"
        );
    }
}
