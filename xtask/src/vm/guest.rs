//! What runs in the machine: the control program, the tests, and what both need.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    architecture::Architecture,
    hardware::Hardware,
    tools::{Tools, copy, make_parent},
};
use crate::{
    artifacts,
    command::{read, run},
    test,
};

/// Where the machine has the BPF object. Not where the source tree has it: the machine mounts file systems
/// of its own over `/tmp` and others, and a checkout may be anywhere.
const OBJECT: &str = "guest/macvlan.bpfel.o";

/// The machine's only user, whom daemons ask for by name.
const USERS: &str = "root:x:0:0::/:/bin/sh\n";

/// The programs under test, and those that test.
pub struct Programs {
    init: PathBuf,
    control: PathBuf,
    object: PathBuf,
    tests: Vec<(String, PathBuf)>,
    tools: Tools,
    strip: &'static str,
}

impl Programs {
    /// Builds the control program, these test programs, and the machine's first process; takes tools for the
    /// hardware from `directory`, if not from this machine.
    ///
    /// # Errors
    /// One does not compile, or tools are unavailable.
    pub fn build(
        root: &Path,
        architecture: Architecture,
        hardware: Hardware,
        directory: &Path,
        tests: &BTreeSet<&str>,
    ) -> Result<Self> {
        let build = |line: &[&str]| {
            // As `cargo xtask test` builds them: in CI they are there already.
            let line = [line, &["--locked", "--message-format=json-render-diagnostics"]].concat();
            artifacts::executables(&read(&mut architecture.cargo(root, &line))?)
        };
        let mut guest = build(&["build", "--package", "macvlan-tests", "--bin", "guest"])?;
        let mut line = vec!["test", "--no-run", "--package", "macvlan-tests"];
        line.extend(tests.iter().flat_map(|test| ["--test", test]));
        let built = build(&line)?;
        let tests = built.into_iter().filter(|program| program.is_test && tests.contains(&*program.name));
        Ok(Self {
            init: take(&mut guest, "guest")?,
            control: take(&mut build(&test::PROGRAM)?, "macvlan-ctl")?,
            object: root.join("macvlan-core/bpf/macvlan.bpfel.o"),
            tests: tests.map(|program| (program.name, program.path)).collect(),
            tools: Tools::of(architecture, hardware, directory)?,
            strip: architecture.strip(),
        })
    }

    /// Puts them into the file system that is to be the machine's.
    ///
    /// # Errors
    /// A file cannot be written, or a tool is missing.
    pub fn put(&self, tree: &Path) -> Result<()> {
        self.install(&self.init, tree, Path::new("init"))?;
        self.install(&self.control, tree, Path::new("bin/macvlan-ctl"))?;
        copy(&self.object, &tree.join(OBJECT))?;
        for (name, path) in &self.tests {
            self.install(path, tree, &Path::new("tests").join(name))?;
        }
        let users = tree.join("etc/passwd");
        make_parent(&users)?;
        fs::write(&users, USERS).with_context(|| format!("cannot write '{}'", users.display()))?;
        self.tools.put(tree)
    }

    /// Copies a program without its symbols, as the machine keeps all of its files in memory, and the
    /// libraries that it needs.
    fn install(&self, program: &Path, tree: &Path, target: &Path) -> Result<()> {
        let target = tree.join(target);
        make_parent(&target)?;
        run(Command::new(self.strip).arg("-o").args([&target, program]))?;
        self.tools.put_libraries(program, tree)
    }
}

fn take(built: &mut Vec<artifacts::Executable>, name: &str) -> Result<PathBuf> {
    let place = built.iter().position(|program| program.name == name);
    let place = place.with_context(|| format!("cargo built no {name}"))?;
    Ok(built.swap_remove(place).path)
}
