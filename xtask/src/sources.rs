//! What the BPF object depends on, as one hash.
//!
//! Of the workspace's lock file and manifest only what the BPF programs use is in it, so that a
//! new release of a library of the control program does not make the object stale.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use crate::{toolchain::PINS, workspace::read_text};

/// The package of the programs.
const PACKAGE: &str = "macvlan-ebpf";

/// The packages of the workspace that are compiled into the object.
const MEMBERS: [&str; 2] = [PACKAGE, "macvlan-common"];

/// The SHA-256 over everything the object is made from.
///
/// # Errors
/// A file cannot be read, or is not what it should be.
pub fn hash(root: &Path) -> Result<String> {
    Ok(hash_of(&inputs(root)?))
}

/// The SHA-256 of `bytes` in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hash_of(inputs: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    for (name, content) in inputs {
        // With the length between them, no text can pass for another name and content.
        hasher.update(format!("{name}\0{}\0{content}", content.len()));
    }
    hex(hasher)
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names and contents of what the object is made from.
fn inputs(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    let mut files = vec![PathBuf::from(PINS)];
    let mut direct = BTreeMap::new();
    for member in MEMBERS {
        let manifest = Path::new(member).join("Cargo.toml");
        direct.insert(member.to_owned(), dependencies(&parse(&root.join(&manifest))?));
        files.push(manifest);
        rust_files(root, &Path::new(member).join("src"), &mut files)?;
    }
    for file in files {
        inputs.insert(file.display().to_string(), read_text(&root.join(&file))?);
    }

    let lock: Lock = parse(&root.join("Cargo.lock"))?.try_into().context("cannot understand 'Cargo.lock'")?;
    let closure = closure(&lock, &direct);
    let manifest = used_of_manifest(&parse(&root.join("Cargo.toml"))?, &closure);
    inputs.insert("Cargo.toml".into(), manifest.to_string());
    inputs.insert("Cargo.lock".into(), closure.iter().map(|package| package.line()).collect());
    Ok(inputs)
}

fn parse(path: &Path) -> Result<Table> {
    read_text(path)?.parse().with_context(|| format!("cannot parse '{}'", path.display()))
}

/// Adds the Rust files below `directory`, relative to `root`.
fn rust_files(root: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot list '{}'", root.join(directory).display());
    for entry in fs::read_dir(root.join(directory)).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let path = directory.join(entry.file_name());
        if entry.file_type().with_context(unreadable)?.is_dir() {
            rust_files(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What a manifest asks for when it is built for BPF: no tests, no optional dependencies.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)))
        .flatten()
        .filter_map(Value::as_table)
        .flatten()
        .filter(|(_, dependency)| dependency.get("optional").and_then(Value::as_bool) != Some(true))
        .map(|(name, _)| name.clone())
        .collect()
}

/// What the workspace's manifest says about the packages in `closure` and how they are built.
fn used_of_manifest(manifest: &Table, closure: &[&Package]) -> Table {
    let names: BTreeSet<&str> = closure.iter().map(|package| package.name.as_str()).collect();
    let workspace = manifest.get("workspace").and_then(Value::as_table);
    let within = |table: &str| workspace.and_then(|workspace| workspace.get(table)?.as_table());
    let edition = within("package").and_then(|package| package.get_key_value("edition"));
    let dependencies = within("dependencies").into_iter().flatten();
    dependencies
        .filter(|(name, _)| names.contains(name.as_str()))
        .chain(edition)
        .chain(manifest.get_key_value("profile"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Those packages of the lock file that the programs are built with, in its order.
///
/// `direct` holds the dependencies of the workspace's own packages: the lock file names those of
/// their tests and optional ones as well.
fn closure<'lock>(lock: &'lock Lock, direct: &BTreeMap<String, BTreeSet<String>>) -> Vec<&'lock Package> {
    let mut wanted = vec![PACKAGE];
    let mut reached = BTreeSet::new();
    while let Some(dependency) = wanted.pop() {
        for (index, package) in lock.package.iter().enumerate().filter(|(_, package)| package.is(dependency))
        {
            if reached.insert(index) {
                let used = |name: &str| direct.get(&package.name).is_none_or(|names| names.contains(name));
                let all = package.dependencies.iter().map(String::as_str);
                wanted.extend(all.filter(|dependency| used(first_word(dependency))));
            }
        }
    }
    reached.into_iter().map(|index| &lock.package[index]).collect()
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Package {
    /// Which bytes it is; what it depends on is in the closure itself.
    fn line(&self) -> String {
        format!("{} {} {}\n", self.name, self.version, self.checksum.as_deref().unwrap_or("-"))
    }

    /// Whether `dependency` means this package: the lock file adds the version where there are
    /// several.
    fn is(&self, dependency: &str) -> bool {
        let mut words = dependency.split(' ');
        words.next() == Some(&self.name) && words.next().is_none_or(|version| version == self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        package = [
            { name = "aya", version = "3.0.0", checksum = "aa", dependencies = ["bits 2.0.0"] },
            { name = "aya-ebpf", version = "1.0.0", checksum = "bb", dependencies = ["bits 1.0.0"] },
            { name = "bits", version = "1.0.0", checksum = "cc" },
            { name = "bits", version = "2.0.0", checksum = "dd" },
            { name = "macvlan-common", version = "0.1.0", dependencies = ["aya", "proptest"] },
            { name = "macvlan-ebpf", version = "0.1.0", dependencies = ["aya-ebpf", "macvlan-common"] },
            { name = "proptest", version = "1.0.0", checksum = "ee", dependencies = ["bits 2.0.0"] },
        ]"#;

    #[test]
    fn only_what_the_programs_use_is_locked() {
        let lock: Lock = toml::from_str(LOCK).unwrap();
        let names: Vec<_> =
            closure(&lock, &direct()).iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(names, ["aya-ebpf 1.0.0", "bits 1.0.0", "macvlan-common 0.1.0", "macvlan-ebpf 0.1.0"]);
    }

    #[test]
    fn optional_and_test_dependencies_are_not_used() {
        let manifest = r#"
            dependencies = { plain = "1", chosen = { version = "1", optional = true } }
            dev-dependencies = { tested = "1" }
            build-dependencies = { built = "1" }
            target.'cfg(target_arch = "bpf")'.dependencies.kernel = { workspace = true }
        "#;
        let names = dependencies(&manifest.parse().unwrap());
        assert_eq!(names, ["built", "kernel", "plain"].map(String::from).into());
    }

    #[test]
    fn the_manifest_counts_as_far_as_it_is_used() {
        let manifest = r#"
            profile.release.lto = true
            workspace.package = { edition = "2024", version = "9.9.9" }
            workspace.dependencies = { aya = "3", aya-ebpf = "1" }
        "#;
        let lock: Lock = toml::from_str(LOCK).unwrap();
        let used = used_of_manifest(&manifest.parse().unwrap(), &closure(&lock, &direct()));
        assert_eq!(used.keys().collect::<Vec<_>>(), ["aya-ebpf", "edition", "profile"]);
    }

    #[test]
    fn every_name_and_every_content_changes_the_hash() {
        let hashes = [("a", "bc"), ("ab", "c"), ("a", "bd"), ("a", "")]
            .map(|(name, content)| hash_of(&[(name.to_owned(), content.to_owned())].into()));
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len());
    }

    #[test]
    fn sha256_is_the_standards_own() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }

    #[test]
    fn the_control_programs_libraries_do_not_count() {
        let inputs = inputs(&crate::workspace::root()).unwrap();
        assert!(inputs.contains_key("macvlan-ebpf/src/main.rs"));
        assert!(inputs["Cargo.lock"].contains("\naya-ebpf-bindings "));
        assert!(!inputs["Cargo.lock"].contains("\ntokio "));
    }

    fn direct() -> BTreeMap<String, BTreeSet<String>> {
        let ebpf = ["aya-ebpf", "macvlan-common"].map(String::from).into();
        [("macvlan-ebpf".to_owned(), ebpf), ("macvlan-common".to_owned(), BTreeSet::new())].into()
    }
}
