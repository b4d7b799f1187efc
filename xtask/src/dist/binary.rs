//! The static binaries: the command, and the CNI plugin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    artifacts, build_ebpf,
    command::{cargo, read},
    remap,
    toolchain::Toolchain,
};

/// The name of the command, and the most bytes that it may have.
pub const CONTROL: Program = Program { name: "macvlan-ctl", most: 8_000_000 };

/// The name of the plugin, and the most bytes that it may have: every ADD and DEL loads it.
pub const PLUGIN: Program = Program { name: "macvlan-cni", most: 4_400_000 };

/// A program that is packaged.
pub struct Program {
    /// Its name, which its package has too.
    pub name: &'static str,
    most: u64,
}

/// Where they are once built.
pub struct Binaries {
    /// The command. The plugin is beside it.
    pub control: PathBuf,
    /// The plugin.
    pub plugin: PathBuf,
}

/// Builds both with cargo's profile `dist`.
///
/// # Errors
/// The compiler cannot be found, or a program does not compile.
pub fn build(root: &Path) -> Result<Binaries> {
    let toolchain = Toolchain::find()?;
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(remap::flags(&build_ebpf::remaps(root, &toolchain)));
    let mut build = cargo(root);
    build.args([
        "build",
        "--package",
        CONTROL.name,
        "--package",
        PLUGIN.name,
        "--profile",
        "dist",
        "--locked",
    ]);
    // A named target keeps the flags away from build scripts and macros, which cannot be static.
    build.args(["--target", &host()?, "--message-format=json-render-diagnostics"]);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let built = artifacts::executables(&read(&mut build)?)?;
    let path = |Program { name, .. }: Program| -> Result<PathBuf> {
        let program = built.iter().find(|executable| executable.name == name);
        Ok(program.with_context(|| format!("cargo built no {name}"))?.path.clone())
    };
    Ok(Binaries { control: path(CONTROL)?, plugin: path(PLUGIN)? })
}

/// Fails unless the binaries need no library of the machine, run, and are no larger than they may be.
///
/// # Errors
/// One of them does not.
pub fn check(binaries: &Binaries) -> Result<()> {
    let version = check_file(&binaries.control, &CONTROL, |control| control.arg("--version"))?;
    ensure!(version.starts_with("macvlan-ctl "), "'{}' says {version:?}", binaries.control.display());
    let versions = check_file(&binaries.plugin, &PLUGIN, |plugin| plugin.env("CNI_COMMAND", "VERSION"))?;
    let says = || format!("'{}' says {versions:?}", binaries.plugin.display());
    ensure!(versions.contains("supportedVersions"), says());
    Ok(())
}

/// What the program says when it is asked so.
fn check_file(
    binary: &Path,
    program: &Program,
    ask: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<String> {
    // Of a static binary `ldd` says so, on standard output or on standard error.
    let said = Command::new("ldd").arg(binary).env("LC_ALL", "C").output().context("cannot run 'ldd'")?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(is_static(&said), "'{}' is not static: {}", binary.display(), said.trim());
    let content = fs::read(binary).with_context(|| format!("cannot read '{}'", binary.display()))?;
    ensure!(!can_crash(&content), "'{}' has crash points, which are for tests", binary.display());
    require_small(program, content.len() as u64)?;
    read(ask(Command::new(binary).env_clear()))
}

fn require_small(program: &Program, len: u64) -> Result<()> {
    let Program { name, most } = program;
    ensure!(
        len <= *most,
        "{name} has {len} bytes, {most} at most: find what it has grown by \
         (CARGO_PROFILE_DIST_STRIP=none, then nm --size-sort)"
    );
    Ok(())
}

/// Whether the program reads the variable that stops it dead (macvlan-core/src/kernel/crash.rs).
fn can_crash(content: &[u8]) -> bool {
    const VARIABLE: &[u8] = b"MACVLAN_CTL_CRASH_AT";
    content.windows(VARIABLE.len()).any(|bytes| bytes == VARIABLE)
}

fn is_static(said: &str) -> bool {
    said.contains("statically linked") || said.contains("not a dynamic executable")
}

/// The compiler's own target.
fn host() -> Result<String> {
    let version = read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what machine it is for")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_crash_points_is_seen() {
        assert!(can_crash(b"..MACVLAN_CTL_CRASH_AT.."));
        assert!(!can_crash(b"MACVLAN_CTL_CRASH"));
    }

    #[test]
    fn a_library_of_the_machine_is_seen() {
        assert!(is_static("\tstatically linked\n"));
        assert!(!is_static("\tlinux-vdso.so.1\n\tlibc.so.6 => /lib/libc.so.6\n"));
        let error = check_file(Path::new("/bin/sh"), &PLUGIN, |shell| shell).unwrap_err();
        assert!(error.to_string().contains("is not static"));
    }

    #[test]
    fn a_program_that_has_grown_is_told() {
        assert!(require_small(&PLUGIN, PLUGIN.most).is_ok());
        let error = require_small(&PLUGIN, PLUGIN.most + 1).unwrap_err().to_string();
        let expected = format!("macvlan-cni has {} bytes, {} at most", PLUGIN.most + 1, PLUGIN.most);
        assert!(error.starts_with(&expected), "{error}");
    }
}
