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
        crates.extend(closure(&resolved(root, target)?, program)?);
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

/// What cargo resolves for `target`.
fn resolved(root: &Path, target: &str) -> Result<Resolved> {
    let mut cargo = cargo(root);
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    serde_json::from_str(&read(&mut cargo)?).context("cannot understand 'cargo metadata'")
}

/// The crates that `program` is built with, itself among them, by how the bill refers to them.
fn closure(Resolved { packages, resolve }: &Resolved, program: &str) -> Result<BTreeMap<String, Used>> {
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

    const METADATA: &str = r#"{
        "packages": [
            { "id": "p0", "name": "program", "version": "0.1.0", "license": "MIT", "source": null },
            { "id": "p1", "name": "used", "version": "1.2.3", "license": "MIT/Apache-2.0", "source": "registry" },
            { "id": "p2", "name": "testing", "version": "1.0.0", "license": null, "source": "registry" },
            { "id": "p3", "name": "other", "version": "0.1.0", "license": null, "source": null }
        ],
        "resolve": { "nodes": [
            { "id": "p0", "deps": [
                { "pkg": "p1", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] },
                { "pkg": "p2", "dep_kinds": [{ "kind": "dev" }] }
            ] },
            { "id": "p1", "deps": [] },
            { "id": "p3", "deps": [{ "pkg": "p2", "dep_kinds": [{ "kind": null }] }] }
        ] }
    }"#;

    #[test]
    fn what_a_program_is_built_with_is_listed_and_nothing_else() {
        let resolved: Resolved = serde_json::from_str(METADATA).unwrap();
        let crates = closure(&resolved, "program").unwrap();
        let names: Vec<&str> = crates.values().map(|used| used.name.as_str()).collect();
        assert_eq!(names, ["program", "used"]);
        let depends = crates["pkg:cargo/program@0.1.0"].dependency();
        assert_eq!(depends.dependencies, ["pkg:cargo/used@1.2.3"]);
        let used = crates["pkg:cargo/used@1.2.3"].component(Some(&"ab".to_owned())).unwrap();
        assert!(used.hashes.is_some());
        assert_eq!(used.component_type, Classification::Library);
        let Some(LicenseChoice::Expression(license)) = &used.licenses.unwrap().0.first().cloned() else {
            panic!()
        };
        assert_eq!(license.to_string(), "MIT OR Apache-2.0");
        assert!(closure(&resolved, "absent").is_err());
    }
}
