//! The bill of materials: every crate that the command, the plugin and the BPF programs are built with, as
//! CycloneDX 1.5 in JSON (ECMA-424).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use cyclonedx_bom::{
    models::{
        component::{Classification, Component, Components},
        dependency::{Dependencies, Dependency},
        hash::{Hash, HashAlgorithm, HashValue, Hashes},
        license::{LicenseChoice, Licenses},
    },
    prelude::{Bom, DateTime, Metadata, Purl, SpdxExpression, Validate as _},
};
use serde::Deserialize;

use super::release::epoch;
use crate::{
    command::{cargo, read},
    workspace::read_text,
};

/// The programs that are packaged, and what each is compiled for.
const PROGRAMS: [(&str, &str); 3] = [
    ("macvlan-ctl", "x86_64-unknown-linux-musl"),
    ("macvlan-cni", "x86_64-unknown-linux-musl"),
    ("macvlan-ebpf", "bpfel-unknown-none"),
];

/// The bill, as it is written to a file.
///
/// # Errors
/// Cargo does not tell what a program depends on, or a crate's name, version or license is none.
pub fn bill(root: &Path) -> Result<String> {
    let mut crates = BTreeMap::new();
    for (program, target) in PROGRAMS {
        crates.extend(closure(root, program, target)?);
    }
    let checksums = checksums(root)?;
    let mut components = Vec::new();
    let mut own = None;
    for used in crates.values() {
        let component = used.component(checksums.get(&(used.name.clone(), used.version.clone())))?;
        if used.name == PROGRAMS[0].0 {
            own = Some(component);
        } else {
            components.push(component);
        }
    }
    let bom = Bom {
        serial_number: None,
        metadata: Some(Metadata { timestamp: Some(time(root)?), component: own, ..Metadata::default() }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(crates.values().map(Used::dependency).collect())),
        ..Bom::default()
    };
    let valid = bom.validate();
    ensure!(valid.passed(), "the bill of materials is not valid: {valid:?}");
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text).context("cannot write the bill of materials")?;
    text.push(b'\n');
    String::from_utf8(text).context("the bill of materials is no text")
}

/// A crate that a program is built with.
struct Used {
    name: String,
    version: String,
    license: Option<String>,
    is_published: bool,
    dependencies: BTreeSet<String>,
}

impl Used {
    /// How the bill refers to it: package URL (ECMA-427).
    fn reference(name: &str, version: &str) -> String {
        format!("pkg:cargo/{name}@{version}")
    }

    fn component(&self, checksum: Option<&String>) -> Result<Component> {
        let (name, version) = (&self.name, &self.version);
        let kind = if self.is_published { Classification::Library } else { Classification::Application };
        let mut component = Component::new(kind, name, version, Some(Self::reference(name, version)));
        component.purl = Some(Purl::new("cargo", name, version).with_context(|| format!("'{name}'"))?);
        if let Some(license) = &self.license {
            let license = SpdxExpression::parse_lax(license.clone());
            let license =
                license.with_context(|| format!("the license of '{name}' is no SPDX expression"))?;
            component.licenses = Some(Licenses(vec![LicenseChoice::Expression(license)]));
        }
        component.hashes = checksum.map(|checksum| {
            Hashes(vec![Hash { alg: HashAlgorithm::SHA_256, content: HashValue(checksum.clone()) }])
        });
        Ok(component)
    }

    fn dependency(&self) -> Dependency {
        Dependency {
            dependency_ref: Self::reference(&self.name, &self.version),
            dependencies: self.dependencies.iter().cloned().collect(),
        }
    }
}

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
struct Resolved {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `None`: neither for tests nor for build scripts alone.
    kind: Option<String>,
}

/// The crates that `program` is built with for `target`, itself among them, by how the bill refers to them.
fn closure(root: &Path, program: &str, target: &str) -> Result<BTreeMap<String, Used>> {
    let mut cargo = cargo(root);
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let Resolved { packages, resolve } =
        serde_json::from_str(&read(&mut cargo)?).context("cannot understand 'cargo metadata'")?;
    let packages: BTreeMap<&str, &Package> = packages.iter().map(|package| (&*package.id, package)).collect();
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let is_program = |package: &&&Package| package.name == program && package.source.is_none();
    let mut wanted: Vec<&str> =
        packages.values().find(is_program).map(|package| &*package.id).into_iter().collect();
    let mut found = BTreeMap::new();
    while let Some(id) = wanted.pop() {
        let (package, node) =
            packages.get(id).zip(nodes.get(id)).with_context(|| format!("cargo does not know '{id}'"))?;
        let reference = Used::reference(&package.name, &package.version);
        if found.contains_key(&reference) {
            continue;
        }
        let edges = node.deps.iter().filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let needed: Vec<&str> = edges.map(|edge| &*edge.pkg).collect();
        let dependencies = needed.iter().filter_map(|id| packages.get(id));
        let used = Used {
            name: package.name.clone(),
            version: package.version.clone(),
            license: package.license.clone(),
            is_published: package.source.is_some(),
            dependencies: dependencies.map(|it| Used::reference(&it.name, &it.version)).collect(),
        };
        found.insert(reference, used);
        wanted.extend(needed);
    }
    ensure!(!found.is_empty(), "there is no package '{program}'");
    Ok(found)
}

/// SHA-256 of the published crates, by name and version.
fn checksums(root: &Path) -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock =
        toml::from_str(&read_text(&root.join("Cargo.lock"))?).context("cannot parse 'Cargo.lock'")?;
    let entries = lock.package.into_iter();
    Ok(entries.filter_map(|entry| Some(((entry.name, entry.version), entry.checksum?))).collect())
}

/// The time that the packages bear.
fn time(root: &Path) -> Result<DateTime> {
    let seconds = format!("@{}", epoch(root)?);
    let text = read(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date", &seconds]))?;
    DateTime::try_from(text.trim().to_owned()).context("'date' gives no time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_names_what_is_in_the_programs_and_nothing_else() {
        let text = bill(&crate::workspace::root()).unwrap();
        let bom = Bom::parse_from_json(text.as_bytes()).unwrap();
        let components = bom.components.unwrap().0;
        let named = |name: &str| components.iter().find(|component| component.name.to_string() == name);
        for name in ["aya", "aya-ebpf", "clap", "macvlan-cni", "macvlan-core", "macvlan-ebpf", "tokio"] {
            let component = named(name).unwrap_or_else(|| panic!("no {name}"));
            assert!(component.licenses.is_some(), "{name}");
            assert_eq!(component.hashes.is_some(), !name.starts_with("macvlan"), "{name}");
        }
        for name in ["criterion", "proptest", "xtask", "macvlan-tests"] {
            assert!(named(name).is_none(), "{name}");
        }
        assert_eq!(bom.metadata.unwrap().component.unwrap().name.to_string(), "macvlan-ctl");
        assert_eq!(bom.dependencies.unwrap().0.len(), components.len() + 1);
    }
}
