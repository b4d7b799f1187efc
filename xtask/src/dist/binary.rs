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

/// The unit of the most that each may have: 1 MiB, as `ls -h` shows it, in tenths.
const TENTH: u64 = (1 << 20) / 10;

/// The command, and the most bytes that it may have.
pub const CONTROL: Program = Program { name: "macvlan-ctl", profile: "dist", most: 68 * TENTH, flags: &[] };

/// The plugin, and the most bytes that it may have: every ADD and DEL loads it.
pub const PLUGIN: Program = Program {
    name: "macvlan-cni",
    profile: "dist-plugin",
    most: 27 * TENTH,
    // What many functions do alike is one function of its own: 130 KB.
    flags: &[
        "-Clink-arg=-Wl,--script=xtask/src/dist/plugin.ld",
        "-Cllvm-args=-enable-machine-outliner=always",
    ],
};

/// For both: no library of the machine; and pointers to be adjusted to where the program is loaded are
/// told by a bit each, not 24 bytes (`DT_RELR`).
const FLAGS: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Clink-arg=-Wl,-z,pack-relative-relocs"];

/// A program that is packaged.
pub struct Program {
    /// Its name, which its package has too.
    pub name: &'static str,
    /// The profile in Cargo.toml.
    profile: &'static str,
    most: u64,
    /// The compiler's for it alone.
    flags: &'static [&'static str],
}

/// Where they are once built.
pub struct Binaries {
    /// The command. The plugin is beside it.
    pub control: PathBuf,
    /// The plugin.
    pub plugin: PathBuf,
}

/// Builds both, each for itself: with the features and the profile that it needs.
///
/// # Errors
/// The compiler cannot be found, or a program does not compile.
pub fn build(root: &Path) -> Result<Binaries> {
    let toolchain = Toolchain::find()?;
    let target = target(&read(Command::new("rustc").arg("-vV"))?)?;
    toolchain.install_target(&target)?;
    let remaps = remap::flags(&build_ebpf::remaps(root, &toolchain));
    let control = build_one(root, &CONTROL, &target, &remaps)?;
    let built = build_one(root, &PLUGIN, &target, &remaps)?;
    let plugin = control.with_file_name(PLUGIN.name);
    fs::copy(&built, &plugin).with_context(|| format!("cannot write '{}'", plugin.display()))?;
    Ok(Binaries { control, plugin })
}

fn build_one(root: &Path, program: &Program, target: &str, remaps: &[String]) -> Result<PathBuf> {
    let Program { name, profile, flags, .. } = program;
    let flags = FLAGS.iter().chain(*flags).map(|flag| (*flag).to_owned());
    let flags: Vec<String> = flags.chain(remaps.iter().cloned()).collect();
    let mut build = cargo(root);
    build.args(["build", "--package", name, "--profile", profile, "--locked"]);
    // A named target keeps the flags away from build scripts and macros, which cannot be static.
    build.args(["--target", target, "--message-format=json-render-diagnostics"]);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let built = artifacts::executables(&read(&mut build)?)?;
    let executable = built.into_iter().find(|executable| executable.name == *name);
    Ok(executable.with_context(|| format!("cargo built no {name}"))?.path)
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
    let Program { name, most, .. } = program;
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

/// The target of static programs on the machine that `rustc -vV` names. musl, not glibc: that brings
/// 700 KB along for modules and character sets that a static program can never load.
fn target(version: &str) -> Result<String> {
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what machine it is for")?;
    let machine = host.split('-').next().unwrap_or(host);
    Ok(format!("{machine}-unknown-linux-musl"))
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
    fn static_programs_are_for_the_machine_and_musl() {
        let target = |version| target(version).ok();
        let expected = Some("aarch64-unknown-linux-musl".to_owned());
        assert_eq!(target("rustc 1.95.0\nhost: aarch64-unknown-linux-gnu\nrelease: 1.95.0\n"), expected);
        assert_eq!(target("rustc 1.95.0\n"), None);
    }

    #[test]
    fn a_program_that_has_grown_is_told() {
        assert!(require_small(&PLUGIN, PLUGIN.most).is_ok());
        let error = require_small(&PLUGIN, PLUGIN.most + 1).unwrap_err().to_string();
        let expected = format!("macvlan-cni has {} bytes, {} at most", PLUGIN.most + 1, PLUGIN.most);
        assert!(error.starts_with(&expected), "{error}");
    }
}
