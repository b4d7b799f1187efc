//! The layers of a package: the order in which its folders may import each other.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

use super::imports::Imports;

/// The layers of a package, from the bottom up. A rank has folders that know nothing of each other:
/// where one must import the other, they get a rank each, in order.
pub struct Layers {
    pub package: &'static str,
    pub ranks: &'static [&'static [&'static str]],
}

/// Every package that has layers.
pub const LAYERS: [Layers; 1] = [Layers {
    package: "macvlan-core",
    ranks: &[
        &["kernel"],
        &["policy"],
        &["model"],
        &["config", "datapath"],
        &["discovery"],
        &["plan"],
        &["apply"],
        &["commands"],
        &["follow"],
    ],
}];

/// Finds files outside the layers, imports that run upwards, and layers that are not there. `root`
/// is the crate's root file, in the folder that holds the layers.
pub fn faults(layers: &Layers, root: &Path, imports: &Imports) -> Vec<String> {
    let source = root.parent().unwrap_or(root);
    let layer_of = |file: &Path| layers.find(file.strip_prefix(source).ok()?);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    // Files of the package's other crates (tests, benches) are in other folders.
    for (from, targets) in imports.0.iter().filter(|(file, _)| *file != root && file.starts_with(source)) {
        let Some((rank, layer)) = layer_of(from) else {
            faults.push(format!("'{}' is in no layer: move it into a folder of one", from.display()));
            continue;
        };
        seen.insert(layer);
        for (to, names) in targets {
            let Some((to_rank, to_layer)) = layer_of(to) else { continue };
            if layer != to_layer && to_rank >= rank {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let how = if to_rank > rank { "above" } else { "beside" };
                faults.push(format!(
                    "'{}' imports from '{}', but {to_layer} is {how} {layer}: {}",
                    from.display(),
                    to.display(),
                    names.join(", ")
                ));
            }
        }
    }
    let missing = layers.ranks.iter().copied().flatten().filter(|layer| !seen.contains(*layer));
    faults.extend(missing.map(|layer| format!("'{}' has no layer {layer}", source.display())));
    faults
}

impl Layers {
    /// The rank and the name of the layer that `file`, as seen from the crate's folder, is in.
    fn find(&self, file: &Path) -> Option<(usize, &'static str)> {
        let first = match file.components().next()? {
            Component::Normal(first) => Path::new(first).file_stem()?.to_str()?,
            _ => return None,
        };
        let ranks = self.ranks.iter().enumerate();
        ranks
            .flat_map(|(rank, layers)| layers.iter().map(move |layer| (rank, *layer)))
            .find(|(_, layer)| *layer == first)
    }
}
