//! The static binary.

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

/// Builds it with cargo's profile `dist`.
///
/// # Errors
/// The compiler cannot be found, or the program does not compile.
pub fn build(root: &Path) -> Result<PathBuf> {
    let toolchain = Toolchain::find()?;
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(remap::flags(&build_ebpf::remaps(root, &toolchain)));
    let mut build = cargo(root);
    build.args(["build", "--package", "macvlan-ctl", "--profile", "dist", "--locked"]);
    // A named target keeps the flags away from build scripts and macros, which cannot be static.
    build.args(["--target", &host()?, "--message-format=json-render-diagnostics"]);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let built = artifacts::executables(&read(&mut build)?)?;
    let program = built.into_iter().find(|executable| executable.name == "macvlan-ctl");
    Ok(program.context("cargo built no macvlan-ctl")?.path)
}

/// Fails unless the binary needs no library of the machine, and runs.
///
/// # Errors
/// It does, or it does not.
pub fn check(binary: &Path) -> Result<()> {
    // Of a static binary `ldd` says so, on standard output or on standard error.
    let said = Command::new("ldd").arg(binary).env("LC_ALL", "C").output().context("cannot run 'ldd'")?;
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(is_static(&said), "'{}' is not static: {}", binary.display(), said.trim());
    let content = fs::read(binary).with_context(|| format!("cannot read '{}'", binary.display()))?;
    ensure!(!can_crash(&content), "'{}' has crash points, which are for tests", binary.display());
    let version = read(Command::new(binary).arg("--version").env_clear())?;
    ensure!(version.starts_with("macvlan-ctl "), "'{}' says {version:?}", binary.display());
    Ok(())
}

/// Whether the program reads the variable that stops it dead (macvlan-core/src/kernel/crash.rs).
fn can_crash(content: &[u8]) -> bool {
    const VARIABLE: &[u8] = b"MACVLAN_CTL_CRASH_AT";
    content.windows(VARIABLE.len()).any(|octets| octets == VARIABLE)
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
        assert!(check(Path::new("/bin/sh")).unwrap_err().to_string().contains("is not static"));
    }
}
