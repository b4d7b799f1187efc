//! Which file a path leads to: re-exports are followed to where the thing is defined.

use std::{collections::BTreeSet, path::PathBuf};

use super::modules::Modules;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Module(usize),
    /// What `file` defines under `name`.
    Item {
        file: PathBuf,
        name: String,
    },
}

/// The imports that are being followed: one that leads back to itself leads nowhere.
type Followed = BTreeSet<(usize, usize)>;

/// What `path`, written in the module `from`, leads to within the crate; nothing when it leads out.
/// More than one thing when a module and something else have the same name.
pub fn resolve(modules: &Modules, from: usize, path: &[String]) -> BTreeSet<Target> {
    follow(modules, from, path, &mut Followed::new())
}

/// What `module` has under `name`: its own, or what it imports.
pub fn look_up(modules: &Modules, module: usize, name: &str) -> BTreeSet<Target> {
    declared(modules, module, name, &mut Followed::new()).unwrap_or_default()
}

fn follow(modules: &Modules, from: usize, path: &[String], followed: &mut Followed) -> BTreeSet<Target> {
    let Some((first, rest)) = path.split_first() else { return BTreeSet::new() };
    let start = match first.as_str() {
        "crate" => [Target::Module(0)].into(),
        "self" => [Target::Module(from)].into(),
        "super" => modules.0[from].parent.map(Target::Module).into_iter().collect(),
        name => declared(modules, from, name, followed).unwrap_or_default(),
    };
    rest.iter().fold(start, |targets, name| step(modules, targets, name, followed))
}

/// Goes from each of `targets` to what it has under `name`.
fn step(
    modules: &Modules,
    targets: BTreeSet<Target>,
    name: &str,
    followed: &mut Followed,
) -> BTreeSet<Target> {
    let mut reached = BTreeSet::new();
    for target in &targets {
        let Target::Module(module) = target else { continue };
        match (name, declared(modules, *module, name, followed)) {
            ("super", _) => reached.extend(modules.0[*module].parent.map(Target::Module)),
            (_, Some(found)) => reached.extend(found),
            // What a macro writes is in no list.
            (_, None) => {
                reached.insert(Target::Item { file: modules.0[*module].file.clone(), name: name.into() });
            }
        }
    }
    // A variant of an enum, a function of a type: they are where it is.
    let item = |target: &Target| matches!(target, Target::Item { .. });
    if reached.is_empty() { targets.into_iter().filter(item).collect() } else { reached }
}

/// As [`look_up`]; none when the module has no such name.
fn declared(
    modules: &Modules,
    module: usize,
    name: &str,
    followed: &mut Followed,
) -> Option<BTreeSet<Target>> {
    let here = &modules.0[module];
    let mut found = BTreeSet::new();
    let mut is_declared = false;
    if here.items.contains(name) {
        is_declared = true;
        found.insert(Target::Item { file: here.file.clone(), name: name.into() });
    }
    for (_, file) in here.macros.iter().filter(|(exported, _)| exported == name) {
        is_declared = true;
        found.insert(Target::Item { file: file.clone(), name: name.into() });
    }
    for (_, child) in here.children.iter().filter(|(child, _)| child == name) {
        is_declared = true;
        found.insert(Target::Module(*child));
    }
    let named = here.uses.iter().enumerate().filter(|(_, import)| import.name.as_deref() == Some(name));
    for (index, import) in named {
        if followed.insert((module, index)) {
            is_declared = true;
            found.extend(follow(modules, module, &import.path, followed));
            followed.remove(&(module, index));
        }
    }
    // What is named comes before what `*` brings.
    if is_declared {
        return Some(found);
    }
    for (index, import) in here.uses.iter().enumerate().filter(|(_, import)| import.name.is_none()) {
        if !followed.insert((module, index)) {
            continue;
        }
        for target in follow(modules, module, &import.path, followed) {
            if let Target::Module(source) = target
                && let Some(brought) = declared(modules, source, name, followed)
            {
                is_declared = true;
                found.extend(brought);
            }
        }
        followed.remove(&(module, index));
    }
    is_declared.then_some(found)
}
