//! `build-ebpf`: compiles the BPF programs into the object that is committed, or checks that one.
//!
//! The same sources give the same bytes in any directory and under any user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    command::{cargo, run},
    object,
    provenance::Provenance,
    remap::{self, Remap},
    sources,
    toolchain::{Pins, Toolchain},
    workspace,
};

/// The committed object, relative to the workspace.
const OBJECT: &str = "macvlan-core/bpf/macvlan.bpfel.o";
/// What is said about it.
const PROVENANCE: &str = "macvlan-core/bpf/PROVENANCE.toml";

/// Bindings of the kernel's types are the same on x86-64 and on aarch64 as far as the programs use
/// them, so one object serves both.
const BINDINGS: &str = r#"--cfg=bpf_target_arch="x86_64""#;

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object and writes it to its place.
///
/// # Errors
/// The toolchain lacks something, the programs do not compile, or the object is not fit to be
/// committed.
pub fn build(root: &Path) -> Result<()> {
    let toolchain = ready_toolchain(root)?;
    let Built { elf, provenance } = Built::new(root, &toolchain)?;
    write(&root.join(OBJECT), &elf)?;
    write(&root.join(PROVENANCE), provenance.text()?.as_bytes())?;
    eprintln!("{OBJECT}: {} bytes", elf.len());
    for (program, count) in &provenance.instructions {
        eprintln!("  {program}: {count} instructions");
    }
    Ok(())
}

/// Checks the committed object by its hashes and, where the toolchain is present, by building it
/// again.
///
/// # Errors
/// The object is not what the sources give.
pub fn check(root: &Path) -> Result<()> {
    let committed = Built::committed(root)?;
    let toolchain = Toolchain::find()?;
    if let Some(lack) = toolchain.lack(&Pins::open(root)?) {
        eprintln!("{OBJECT} fits its sources by their hash; not built again, because {lack}");
        return Ok(());
    }
    committed.require_same(&Built::new(root, &toolchain)?)?;
    eprintln!("{OBJECT} is what its sources give");
    Ok(())
}

/// As [`check`], with the object built from a copy of the workspace in another directory, of a much
/// longer name: that alone has changed what LLVM wrote (see [`crate::btf`]).
///
/// # Errors
/// As [`check`], or the toolchain lacks something.
pub fn check_elsewhere(root: &Path) -> Result<()> {
    let committed = Built::committed(root)?;
    let toolchain = ready_toolchain(root)?;
    let elsewhere = tempfile::tempdir().context("cannot create a directory to build in")?;
    let deep = elsewhere.path().join(["directory"; 12].join("/"));
    fs::create_dir_all(&deep).with_context(|| format!("cannot create '{}'", deep.display()))?;
    workspace::copy(root, &deep)?;
    committed.require_same(&Built::new(&deep, &toolchain)?)?;
    eprintln!("{OBJECT} is what its sources give in another directory");
    Ok(())
}

/// Runs clippy and rustdoc on the programs as they are compiled for BPF; for the machine's own
/// target they are empty.
///
/// # Errors
/// The toolchain lacks something, or there is a complaint.
pub fn lint(root: &Path) -> Result<()> {
    let toolchain = ready_toolchain(root)?;
    let mut clippy = cargo_for_bpf(root, &toolchain, "clippy");
    clippy.args(["--", "-D", "warnings"]);
    run(&mut clippy)?;
    let mut doc = cargo_for_bpf(root, &toolchain, "doc");
    doc.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings");
    run(&mut doc)
}

fn ready_toolchain(root: &Path) -> Result<Toolchain> {
    let toolchain = Toolchain::find()?;
    match toolchain.lack(&Pins::open(root)?) {
        Some(lack) => bail!("cannot build the BPF object: {lack}"),
        None => Ok(toolchain),
    }
}

/// An object, and where it comes from.
struct Built {
    elf: Vec<u8>,
    provenance: Provenance,
}

impl Built {
    /// Built from the workspace at `root`, which need not be this one.
    fn new(root: &Path, toolchain: &Toolchain) -> Result<Self> {
        // Before the build: what is edited meanwhile is not in the object.
        let sources_sha256 = sources::hash(root)?;
        let elf = compile(root, toolchain)?;
        let provenance = Provenance::of(&elf, sources_sha256, toolchain)?;
        Ok(Self { elf, provenance })
    }

    /// The committed one, found to be of these sources.
    fn committed(root: &Path) -> Result<Self> {
        let path = root.join(OBJECT);
        let elf = fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        let provenance = Provenance::open(&root.join(PROVENANCE))?;
        if let Some(mismatch) = provenance.mismatch(&sources::hash(root)?, &elf) {
            bail!(stale(mismatch));
        }
        object::inspect(&elf)?;
        Ok(Self { elf, provenance })
    }

    fn require_same(&self, other: &Self) -> Result<()> {
        ensure!(self.elf == other.elf, stale("its sources give another object"));
        ensure!(self.provenance == other.provenance, stale("its provenance is not as stated"));
        Ok(())
    }
}

fn stale(reason: &str) -> String {
    format!("'{OBJECT}' is stale, {reason}: run `cargo xtask build-ebpf` and commit what it writes")
}

fn compile(root: &Path, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let mut build = cargo_for_bpf(root, toolchain, "build");
    run(&mut build).context("cannot compile the BPF programs")?;
    let path = target_dir(root).join(TARGET).join("bpf/macvlan");
    let linked = fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let elf = object::strip(&linked)?;
    object::inspect(&elf)?;
    object::refuse_strings(&elf, &unwanted(root, toolchain))?;
    Ok(elf)
}

fn cargo_for_bpf(root: &Path, toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut flags = vec![BINDINGS.to_owned(), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    flags.extend(remap::flags(&remaps(root, toolchain)));

    let mut cargo = cargo(root);
    cargo.args([subcommand, "--package", "macvlan-ebpf", "--profile", "bpf", "--locked"]);
    cargo.args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"]).arg(target_dir(root));
    // The stable compiler has all that is needed; only the switches for it are unstable.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.env("CARGO_INCREMENTAL", "0");
    // The linker loads the first LLVM it finds: it must be the compiler's.
    cargo.env("LD_LIBRARY_PATH", toolchain.sysroot.join("lib"));
    if let Some(linker) = &toolchain.linker {
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker.path);
    }
    cargo
}

fn target_dir(root: &Path) -> PathBuf {
    root.join("target/ebpf")
}

/// Directories of this machine, and what the object calls them.
pub fn remaps(root: &Path, toolchain: &Toolchain) -> Vec<Remap> {
    let registries = fs::read_dir(toolchain.cargo_home.join("registry/src")).into_iter().flatten().flatten();
    let mut remaps: Vec<_> = registries.map(|registry| Remap::new(&registry.path(), "registry")).collect();
    remaps.push(Remap::new(&toolchain.cargo_home, "cargo"));
    remaps.push(Remap::new(&toolchain.sysroot, "rust"));
    remaps.push(Remap::new(&toolchain.rust_src(), "rust/lib/rustlib/src/rust"));
    remaps.push(Remap::new(root, "."));
    remap::with_links_resolved(remaps)
}

/// What must not be in the object: where it was built, and addresses.
fn unwanted(root: &Path, toolchain: &Toolchain) -> Vec<String> {
    let home = std::env::home_dir().filter(|home| home.components().count() > 1);
    let directories = [Some(root.to_owned()), home];
    let remapped = remaps(root, toolchain).into_iter().map(|remap| Some(remap.from));
    directories
        .into_iter()
        .chain(remapped)
        .flatten()
        .map(|directory| directory.display().to_string())
        .chain([concat!("crates", ".io").to_owned(), "://".to_owned()])
        .collect()
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write '{}'", path.display()))
}
