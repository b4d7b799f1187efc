//! How the files of each package may import each other: in the order of the layers, never in a circle.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{
    circles,
    figures::Figures,
    imports::Imports,
    layers::{self, LAYERS, Layers},
    modules::Modules,
    packages::{self, Package},
};
use crate::workspace::{self, read_text};

/// What was found in the whole workspace.
pub struct Structure {
    pub faults: Vec<String>,
    pub figures: Vec<Figures>,
}

/// Checks every package of the workspace at `root`.
///
/// # Errors
/// A file cannot be found, read or parsed.
pub fn check(root: &Path) -> Result<Structure> {
    let packages = packages::members(root)?;
    let files = workspace::files(root)?;
    let mut structure = Structure { faults: Vec::new(), figures: Vec::new() };
    for package in &packages {
        let imports = read(root, package)?;
        let layers = LAYERS.iter().find(|layers| layers.package == package.name);
        let library = package.library().map(|file| file.strip_prefix(root).unwrap_or(file));
        let (faults, found) = examine(&imports, layers.zip(library));
        structure.faults.extend(faults);
        structure.figures.push(Figures {
            package: package.name.clone(),
            files: lengths(root, package, &files)?,
            circles: found.circles.len(),
            levels: found.levels,
        });
    }
    let has_library = |layers: &&Layers| {
        packages.iter().any(|package| package.name == layers.package && package.library().is_some())
    };
    let missing = LAYERS.iter().filter(|layers| !has_library(layers));
    structure.faults.extend(
        missing.map(|layers| format!("no library is called '{}', but it has layers", layers.package)),
    );
    Ok(structure)
}

/// Looks for circles, and for imports against the order of `layers` in the library with this root file.
pub fn examine<'a>(
    imports: &'a Imports,
    layers: Option<(&Layers, &Path)>,
) -> (Vec<String>, circles::Found<'a>) {
    let found = circles::find(imports);
    let mut faults: Vec<String> =
        found.circles.iter().map(|circle| circles::describe(circle, imports)).collect();
    faults.extend(layers.iter().flat_map(|(layers, library)| layers::faults(layers, library, imports)));
    (faults, found)
}

/// The imports of all crates of a package; the files as seen from `root`.
fn read(root: &Path, package: &Package) -> Result<Imports> {
    let mut imports = Imports::default();
    for target in &package.targets {
        imports.add(&Modules::read(&target.src_path)?);
    }
    Ok(imports.seen_from(root))
}

/// Lines and name of each Rust file of `package` among `files`.
fn lengths(root: &Path, package: &Package, files: &[PathBuf]) -> Result<Vec<(usize, String)>> {
    let directory = package.directory().strip_prefix(root).unwrap_or(package.directory());
    let is_source = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    let own = files.iter().filter(|file| file.starts_with(directory)).filter(is_source);
    own.map(|file| Ok((read_text(&root.join(file))?.lines().count(), file.display().to_string()))).collect()
}
