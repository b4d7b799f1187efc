//! The modules of a crate and the files that hold them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::syntax::{self, Content, Declaration, Use};
use crate::workspace::read_text;

/// All modules of a crate; the first is its root.
pub struct Modules(pub Vec<Module>);

pub struct Module {
    /// The file that it is written in.
    pub file: PathBuf,
    /// The module that declares it.
    pub parent: Option<usize>,
    pub children: Vec<(String, usize)>,
    pub uses: Vec<Use>,
    pub items: BTreeSet<String>,
    /// Macros of other files that are reached from here.
    pub macros: Vec<(String, PathBuf)>,
    pub paths: BTreeSet<Vec<String>>,
}

impl Modules {
    /// Reads the crate whose root is `file`. What is compiled for tests alone is left out.
    ///
    /// # Errors
    /// A file cannot be found, read or parsed.
    pub fn read(file: &Path) -> Result<Self> {
        let mut modules = Self(Vec::new());
        modules.read_file(file, directory(file), None)?;
        Ok(modules)
    }

    /// Whether `module` is `ancestor` or somewhere below it.
    pub fn is_within(&self, module: usize, ancestor: usize) -> bool {
        let mut at = Some(module);
        while let Some(module) = at {
            if module == ancestor {
                return true;
            }
            at = self.0[module].parent;
        }
        false
    }

    /// Reads `file`, whose child modules are in the directory `below`.
    fn read_file(&mut self, file: &Path, below: &Path, parent: Option<usize>) -> Result<usize> {
        let content = syntax::read(&read_text(file)?).with_context(|| format!("'{}'", file.display()))?;
        self.add(content, file, below, parent)
    }

    fn add(&mut self, content: Content, file: &Path, below: &Path, parent: Option<usize>) -> Result<usize> {
        let module = self.0.len();
        let Content { modules, uses, items, exported, paths } = content;
        let (file, children, macros) = (file.to_owned(), Vec::new(), Vec::new());
        self.0.push(Module { file: file.clone(), parent, children, uses, items, macros, paths });
        self.0[0].macros.extend(exported.into_iter().map(|name| (name, file.clone())));
        for Declaration { name, path, inline } in modules {
            let child = match (inline, path) {
                (Some(content), _) => self.add(content, &file, &below.join(&name), Some(module))?,
                (None, Some(path)) => {
                    let child = directory(&file).join(path);
                    self.read_file(&child, directory(&child), Some(module))?
                }
                (None, None) => {
                    let (child, below) = find(&name, below)
                        .with_context(|| format!("'{}': no file holds `mod {name}`", file.display()))?;
                    self.read_file(&child, &below, Some(module))?
                }
            };
            self.0[module].children.push((name, child));
        }
        Ok(module)
    }
}

/// The file of a module, and where those of its child modules are.
fn find(name: &str, directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let below = directory.join(name);
    let candidates = [directory.join(format!("{name}.rs")), below.join("mod.rs")];
    candidates.into_iter().find(|file| file.is_file()).map(|file| (file, below))
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}
