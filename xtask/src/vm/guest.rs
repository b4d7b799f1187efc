//! What runs in the machine: the control program, the tests, and the tools that tests start, with the
//! libraries that all of them need.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    artifacts,
    command::{cargo, find, read, run},
    test,
};

/// Where the machine has the BPF object. Not where the source tree has it: the machine mounts file systems
/// of its own over `/tmp` and others, and a checkout may be anywhere.
const OBJECT: &str = "guest/macvlan.bpfel.o";

/// Programs that the tests start.
const TOOLS: [&str; 5] = ["ip", "tc", "setpriv", "cat", "sh"];

/// The programs under test, and those that test.
pub struct Programs {
    init: PathBuf,
    control: PathBuf,
    object: PathBuf,
    tests: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Builds the control program, these test programs, and the machine's first process.
    ///
    /// # Errors
    /// One does not compile.
    pub fn build(root: &Path, tests: &BTreeSet<&str>) -> Result<Self> {
        let mut guest = build(root, &["build", "--package", "macvlan-tests", "--bin", "guest"])?;
        let mut line = vec!["test", "--no-run", "--package", "macvlan-tests"];
        line.extend(tests.iter().flat_map(|test| ["--test", test]));
        let built = build(root, &line)?;
        let tests = built.into_iter().filter(|program| program.is_test && tests.contains(&*program.name));
        Ok(Self {
            init: take(&mut guest, "guest")?,
            control: test::build_program(root, false)?,
            object: root.join("macvlan-ctl/bpf/macvlan.bpfel.o"),
            tests: tests.map(|program| (program.name, program.path)).collect(),
        })
    }

    /// Puts them into the file system that is to be the machine's.
    ///
    /// # Errors
    /// A file cannot be written, or a tool is missing.
    pub fn put(&self, tree: &Path) -> Result<()> {
        install(&self.init, tree, Path::new("init"))?;
        install(&self.control, tree, Path::new("bin/macvlan-ctl"))?;
        copy(&self.object, &tree.join(OBJECT))?;
        for (name, path) in &self.tests {
            install(path, tree, &Path::new("tests").join(name))?;
        }
        for tool in TOOLS {
            let path = find(tool).with_context(|| format!("this machine has no '{tool}'"))?;
            copy(&path, &tree.join("bin").join(tool))?;
            put_libraries(&path, tree)?;
        }
        Ok(())
    }
}

/// Builds something, and tells what came of it.
fn build(root: &Path, line: &[&str]) -> Result<Vec<artifacts::Executable>> {
    let mut build = cargo(root);
    // As `cargo xtask test` builds them: in CI they are there already.
    build.args(line).args(["--locked", "--message-format=json-render-diagnostics"]);
    artifacts::executables(&read(&mut build)?)
}

fn take(built: &mut Vec<artifacts::Executable>, name: &str) -> Result<PathBuf> {
    let place = built.iter().position(|program| program.name == name);
    let place = place.with_context(|| format!("cargo built no {name}"))?;
    Ok(built.swap_remove(place).path)
}

/// Copies a program without its symbols, as the machine keeps all of its files in memory, and the
/// libraries that it needs.
fn install(program: &Path, tree: &Path, target: &Path) -> Result<()> {
    let target = tree.join(target);
    make_parent(&target)?;
    run(Command::new("strip").arg("-o").args([&target, program]))?;
    put_libraries(program, tree)
}

fn put_libraries(program: &Path, tree: &Path) -> Result<()> {
    for library in libraries(program)? {
        copy(&library, &tree.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    Ok(())
}

/// Copies what a file is, not that it is a link.
fn copy(file: &Path, target: &Path) -> Result<()> {
    make_parent(target)?;
    fs::copy(file, target).map(drop).with_context(|| format!("cannot copy '{}'", file.display()))
}

fn make_parent(target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).with_context(|| format!("cannot create '{}'", parent.display()))
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
}
