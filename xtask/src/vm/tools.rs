//! What tests start, with the libraries that all programs of a machine need.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{architecture::Architecture, hardware::Hardware};
use crate::{
    command::{find, run},
    debian::Apt,
};

/// Programs that the tests start.
const TOOLS: [&str; 7] = ["ip", "tc", "setpriv", "cat", "sh", "ping", "unshare"];

/// The packages that they are in, and that of the library every Rust program needs.
const PACKAGES: [&str; 6] = ["iproute2", "util-linux", "coreutils", "dash", "iputils-ping", "libgcc-s1"];

/// The suite that these come from: that which programs are cross-compiled on.
const SUITE: &str = "bookworm";

/// What tests start on machines with some hardware, and where that is.
pub struct Tools {
    hardware: Hardware,
    place: Place,
}

/// Where programs are.
enum Place {
    /// On this machine.
    Own,
    /// Below this directory, as packages have them.
    Unpacked(PathBuf),
}

impl Tools {
    /// Those of this machine or, for another processor, Debian's: unpacked in `directory`, unless they are
    /// there from an earlier run.
    ///
    /// # Errors
    /// The machine's apt has no Debian source, or the packages are not as expected.
    pub fn of(architecture: Architecture, hardware: Hardware, directory: &Path) -> Result<Self> {
        if architecture.cross_target().is_none() {
            return Ok(Self { hardware, place: Place::Own });
        }
        let tree = directory.join("tools");
        if !tree.is_dir() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create '{}'", directory.display()))?;
            let scratch = tempfile::tempdir_in(directory)
                .with_context(|| format!("cannot write in '{}'", directory.display()))?;
            let apt = Apt::new(scratch.path(), SUITE, Some(architecture.debian()))?;
            let mut packages = BTreeSet::new();
            for package in PACKAGES {
                packages.extend(apt.needed_by(package)?);
            }
            let unpacked = scratch.path().join("unpacked");
            apt.unpack(&packages.into_iter().collect::<Vec<_>>(), &unpacked)?;
            fs::rename(&unpacked, &tree).with_context(|| format!("cannot make '{}'", tree.display()))?;
        }
        Ok(Self { hardware, place: Place::Unpacked(tree) })
    }

    /// Puts them into the file system that is to be a machine's.
    ///
    /// # Errors
    /// A file cannot be written, or a tool is missing.
    pub fn put(&self, tree: &Path) -> Result<()> {
        let more = self.hardware.tools().iter().map(|(tool, _)| *tool);
        for tool in TOOLS.into_iter().chain(more) {
            let path = self.find(tool).with_context(|| format!("there is no '{tool}'"))?;
            copy(&path, &tree.join("bin").join(tool))?;
            self.put_libraries(&path, tree)?;
        }
        match &self.place {
            Place::Own => Ok(()),
            Place::Unpacked(packages) => put_all_libraries(packages, tree),
        }
    }

    /// Puts the libraries there that this program needs, where not all are put there anyway.
    ///
    /// # Errors
    /// One is missing or cannot be written.
    pub fn put_libraries(&self, program: &Path, tree: &Path) -> Result<()> {
        if matches!(self.place, Place::Unpacked(_)) {
            return Ok(());
        }
        for library in libraries(program)? {
            copy(&library, &tree.join(library.strip_prefix("/").unwrap_or(&library)))?;
        }
        Ok(())
    }

    fn find(&self, tool: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Own => find(tool),
            Place::Unpacked(packages) => {
                let places = ["bin", "sbin", "usr/bin", "usr/sbin"];
                let paths = places.iter().map(|place| packages.join(place).join(tool));
                paths.into_iter().find(|path| path.is_file())
            }
        }
    }
}

/// Copies what a file is, not that it is a link.
pub fn copy(file: &Path, target: &Path) -> Result<()> {
    make_parent(target)?;
    fs::copy(file, target).map(drop).with_context(|| format!("cannot copy '{}'", file.display()))
}

/// Makes the directory that a file is to be in.
pub fn make_parent(target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).with_context(|| format!("cannot create '{}'", parent.display()))
}

/// The libraries of all packages, and what loads them, links as they are.
fn put_all_libraries(packages: &Path, tree: &Path) -> Result<()> {
    let target = tree.join("lib");
    fs::create_dir_all(&target).with_context(|| format!("cannot create '{}'", target.display()))?;
    for lib in ["lib", "usr/lib"] {
        let from = packages.join(lib);
        let entries = fs::read_dir(&from).with_context(|| format!("cannot list '{}'", from.display()))?;
        for entry in entries.flatten().filter(|entry| is_of_libraries(&entry.file_name().to_string_lossy())) {
            run(Command::new("cp").args(["--archive", "--update"]).args([&entry.path(), &target]))?;
        }
    }
    Ok(())
}

/// Whether an entry of `/lib` is the directory of an architecture's libraries, or what loads them.
fn is_of_libraries(name: &str) -> bool {
    name.ends_with("-linux-gnu") || name.starts_with("ld-linux-")
}

/// The shared libraries that a program of this machine needs, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot run 'ldd'")?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(!text.contains("not found"), "'{}' lacks a library: {text}", program.display());
    Ok(loaded(&text))
}

fn loaded(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_their_paths() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(loaded(text), ["/lib/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from));
        assert!(loaded("\tstatically linked\n").is_empty());
    }

    #[test]
    fn tools_of_packages_are_found_wherever_those_have_them() {
        let packages = tempfile::tempdir().unwrap();
        let ip = packages.path().join("sbin/ip");
        make_parent(&ip).unwrap();
        fs::write(&ip, "").unwrap();
        let place = Place::Unpacked(packages.path().to_owned());
        let tools = Tools { hardware: Hardware::Cards, place };
        assert_eq!(tools.find("ip"), Some(ip));
        assert_eq!(tools.find("tc"), None);
    }

    #[test]
    fn links_among_libraries_stay_links() {
        let (packages, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (file, lib) in [("lib", "one"), ("usr/lib", "two")] {
            let directory = packages.path().join(file).join("aarch64-linux-gnu");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(lib), lib).unwrap();
            fs::create_dir(packages.path().join(file).join("udev")).unwrap();
        }
        let loader = packages.path().join("lib/ld-linux-aarch64.so.1");
        std::os::unix::fs::symlink("aarch64-linux-gnu/one", &loader).unwrap();
        put_all_libraries(packages.path(), tree.path()).unwrap();
        let lib = tree.path().join("lib");
        assert_eq!(
            fs::read_link(lib.join("ld-linux-aarch64.so.1")).unwrap(),
            Path::new("aarch64-linux-gnu/one")
        );
        assert_eq!(fs::read_to_string(lib.join("aarch64-linux-gnu/two")).unwrap(), "two");
        assert!(!lib.join("udev").exists());
    }
}
