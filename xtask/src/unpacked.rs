//! Tools whose packages would start a service, or have one started at the next boot: unpacked for
//! the tests instead of installed.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{find, run};

/// A Debian package, and the programs in its `/usr/bin` that tests start.
const PACKAGE: &str = "prometheus";
const TOOLS: [&str; 2] = ["prometheus", "promtool"];

/// Packages of routing daemons, and where each has the one that tests start. They are unpacked with the
/// libraries that the machine lacks: tests look for these beside the daemons.
const DAEMONS: [(&str, &str); 2] = [("keepalived", "usr/sbin/keepalived"), ("frr", "usr/lib/frr/vrrpd")];

/// A `PATH` on which those tools and daemons are, in `root`'s `target` if they are not on this machine.
///
/// # Errors
/// A package cannot be downloaded or unpacked, or lacks a tool.
pub fn search_path(root: &Path) -> Result<OsString> {
    let path = tools_path(root)?;
    let directory = root.join("target/tools");
    let programs = DAEMONS.map(|(_, file)| directory.join(file));
    if !programs.iter().all(|program| program.is_file()) {
        unpack_daemons(&directory).context("the tests need routing daemons")?;
    }
    let mut directories = programs.iter().filter_map(|program| program.parent());
    directories.try_fold(path, |path, directory| with(directory, &path))
}

fn tools_path(root: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    if TOOLS.iter().all(|tool| find(tool).is_some()) {
        return Ok(path);
    }
    let directory = root.join("target/tools");
    let programs = directory.join("usr/bin");
    if let Some(missing) = missing(&programs) {
        unpack(&directory).with_context(|| format!("the tests need '{missing}'"))?;
    }
    if let Some(missing) = missing(&programs) {
        bail!("Debian's package {PACKAGE} has no '{missing}'");
    }
    with(&programs, &path)
}

fn missing(programs: &Path) -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| !programs.join(tool).is_file())
}

fn with(programs: &Path, path: &OsString) -> Result<OsString> {
    let all = [PathBuf::from(programs)].into_iter().chain(env::split_paths(path));
    env::join_paths(all).with_context(|| format!("'{}' cannot be in PATH", programs.display()))
}

/// Unpacks the daemons and what they need that is not installed.
fn unpack_daemons(directory: &Path) -> Result<()> {
    ensure!(find("apt-get").is_some(), "there is no apt-get to get routing daemons with");
    fs::create_dir_all(directory).with_context(|| format!("cannot create '{}'", directory.display()))?;
    let scratch = tempfile::tempdir_in(directory)
        .with_context(|| format!("cannot write in '{}'", directory.display()))?;
    fs::create_dir(scratch.path().join("partial")).context("cannot create apt's directory")?;
    let mut download = Command::new("apt-get");
    download.args([
        "-y",
        "--no-install-recommends",
        "--download-only",
        "-o",
        "APT::Sandbox::User=root",
        "-o",
    ]);
    download.arg(format!("Dir::Cache::archives={}", scratch.path().display())).arg("install");
    download.args(DAEMONS.map(|(package, _)| package));
    if run(&mut download).is_err() {
        if let Err(error) = run(Command::new("apt-get").arg("update")) {
            eprintln!("{error:#}");
        }
        run(&mut download).context("cannot download routing daemons")?;
    }
    for archive in archives(scratch.path())? {
        run(Command::new("dpkg").arg("-x").args([archive.as_path(), directory]))?;
    }
    match DAEMONS.iter().find(|(_, file)| !directory.join(file).is_file()) {
        Some((package, file)) => bail!("Debian's package {package} has no '{file}'"),
        None => Ok(()),
    }
}

fn archives(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).context("cannot list what was downloaded")?;
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
}

fn unpack(directory: &Path) -> Result<()> {
    ensure!(find("apt-get").is_some(), "there is no apt-get to get the package {PACKAGE} with");
    fs::create_dir_all(directory).with_context(|| format!("cannot create '{}'", directory.display()))?;
    let scratch = tempfile::tempdir_in(directory)
        .with_context(|| format!("cannot write in '{}'", directory.display()))?;
    let mut download = Command::new("apt-get");
    // The sandbox's user cannot enter the scratch directory.
    download.current_dir(scratch.path()).args(["-o", "APT::Sandbox::User=root", "download", PACKAGE]);
    if run(&mut download).is_err() {
        // The package lists may be absent or old. One source of several that cannot be reached is
        // no reason to give up.
        if let Err(error) = run(Command::new("apt-get").arg("update")) {
            eprintln!("{error:#}");
        }
        run(&mut download).with_context(|| format!("cannot download {PACKAGE}"))?;
    }
    let archives = archives(scratch.path())?;
    let archive = archives.first().with_context(|| format!("apt-get left no {PACKAGE}"))?;
    run(Command::new("dpkg").arg("-x").args([archive.as_path(), directory]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_programs_come_first() {
        let path = with(Path::new("/unpacked/bin"), &"/usr/bin:/bin".into()).unwrap();
        assert_eq!(path, "/unpacked/bin:/usr/bin:/bin");
        assert!(with(Path::new("/a:b"), &OsString::new()).is_err());
    }

    #[test]
    fn a_directory_lacks_tools_until_all_are_there() {
        let directory = tempfile::tempdir().unwrap();
        for tool in TOOLS {
            assert_eq!(missing(directory.path()), Some(tool));
            fs::write(directory.path().join(tool), "").unwrap();
        }
        assert_eq!(missing(directory.path()), None);
    }
}
