//! Circles of files that import each other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use petgraph::{
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
};

use super::imports::Imports;

/// What was found of the imports of one package.
pub struct Found<'a> {
    /// Files that reach each other, more than one in each.
    pub circles: Vec<Vec<&'a Path>>,
    /// How many files the longest chain of imports has; a circle counts as one.
    pub levels: usize,
}

/// Looks for circles.
pub fn find(imports: &Imports) -> Found<'_> {
    let mut graph = DiGraph::new();
    let nodes: BTreeMap<&PathBuf, NodeIndex> =
        imports.0.keys().map(|file| (file, graph.add_node(file.as_path()))).collect();
    for (from, targets) in &imports.0 {
        for to in targets.keys() {
            graph.add_edge(nodes[from], nodes[to], ());
        }
    }
    // What is imported comes before what imports it.
    let components = tarjan_scc(&graph);
    let mut height = BTreeMap::new();
    for component in &components {
        let below = component.iter().flat_map(|node| graph.neighbors(*node));
        let level = 1 + below.filter_map(|node| height.get(&node).copied()).max().unwrap_or(0);
        height.extend(component.iter().map(|node| (*node, level)));
    }
    let circles = components.into_iter().filter(|component| component.len() > 1).map(|component| {
        let mut files: Vec<&Path> = component.into_iter().map(|node| graph[node]).collect();
        files.sort_unstable();
        files
    });
    Found { circles: circles.collect(), levels: height.values().copied().max().unwrap_or(0) }
}

/// Tells of a circle: its files, and what each imports from the others.
pub fn describe(circle: &[&Path], imports: &Imports) -> String {
    let names: Vec<String> = circle.iter().map(|file| format!("'{}'", file.display())).collect();
    let mut text = format!("{} files import each other: {}", circle.len(), names.join(", "));
    for from in circle {
        for (to, names) in imports.0[*from].iter().filter(|(to, _)| circle.contains(&to.as_path())) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            text += &format!("\n         {} -> {}: {}", from.display(), to.display(), names.join(", "));
        }
    }
    text
}
