//! Which file of a package imports what from which.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    modules::{Module, Modules},
    resolve::{Target, look_up, resolve},
    syntax::Use,
};

/// For each file, the files that it imports from, and the names.
#[derive(Default)]
pub struct Imports(pub BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>);

impl Imports {
    /// Adds the files of a crate, and what they import from each other.
    pub fn add(&mut self, modules: &Modules) {
        for (index, module) in modules.0.iter().enumerate() {
            self.0.entry(module.file.clone()).or_default();
            for path in &module.paths {
                for target in resolve(modules, index, path) {
                    if let Target::Item { file, name } = target {
                        self.add_one(module, &file, name);
                    }
                }
            }
            for import in &module.uses {
                self.add_use(modules, index, import);
            }
        }
    }

    /// The same, with the files as seen from `root`.
    pub fn seen_from(self, root: &Path) -> Self {
        let short = |file: PathBuf| file.strip_prefix(root).map(Path::to_owned).unwrap_or(file);
        let files = self.0.into_iter().map(|(from, targets)| {
            (short(from), targets.into_iter().map(|(to, names)| (short(to), names)).collect())
        });
        Self(files.collect())
    }

    fn add_use(&mut self, modules: &Modules, index: usize, import: &Use) {
        let module = &modules.0[index];
        for target in resolve(modules, index, &import.path) {
            // What a module shows of those below it is where it is: that is no import, unless the
            // module uses it too, and then a path says so.
            if import.public && is_below(modules, index, &target) {
                continue;
            }
            match (target, &import.name) {
                (Target::Item { file, name }, _) => self.add_one(module, &file, name),
                (Target::Module(source), Some(name)) if import.public || !leads_through(module, name) => {
                    self.add_one(module, &modules.0[source].file, format!("mod {name}"));
                }
                // The paths through it are what is imported.
                (Target::Module(_), Some(_)) => {}
                (Target::Module(source), None) if import.public || !brings_any(modules, module, source) => {
                    self.add_one(module, &modules.0[source].file, "*".into());
                }
                (Target::Module(_), None) => {}
            }
        }
    }

    fn add_one(&mut self, module: &Module, file: &Path, name: String) {
        if module.file != file {
            let from = self.0.entry(module.file.clone()).or_default();
            from.entry(file.to_owned()).or_default().insert(name);
        }
    }
}

fn is_below(modules: &Modules, ancestor: usize, target: &Target) -> bool {
    match target {
        Target::Module(module) => modules.is_within(*module, ancestor),
        Target::Item { file, .. } => {
            let mut holders = (0..modules.0.len()).filter(|module| modules.0[*module].file == *file);
            holders.any(|module| modules.is_within(module, ancestor))
        }
    }
}

/// Whether a path of `module` goes on from `name`.
fn leads_through(module: &Module, name: &str) -> bool {
    let uses = module.uses.iter().map(|import| &import.path);
    module.paths.iter().chain(uses).any(|path| path.len() > 1 && path[0] == name)
}

/// Whether `module` names anything that `source` has.
fn brings_any(modules: &Modules, module: &Module, source: usize) -> bool {
    module.paths.iter().any(|path| !look_up(modules, source, &path[0]).is_empty())
}
