//! Made-up crates: what is found in them, and what is not.

use std::{fs, path::Path};

use super::{
    circles,
    imports::Imports,
    layers::{LAYERS, Layers},
    modules::Modules,
    structure::examine,
};

const LAYERED: Layers = Layers { package: "made-up", ranks: &[&["low"], &["left", "right"], &["high"]] };

/// The imports of a library with these files, named as in the folder of its root file.
fn imports(files: &[(&str, &str)]) -> Imports {
    let directory = tempfile::tempdir().unwrap();
    for (file, source) in files {
        let file = directory.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, source).unwrap();
    }
    let mut imports = Imports::default();
    imports.add(&Modules::read(&directory.path().join("lib.rs")).unwrap());
    imports.seen_from(directory.path())
}

/// Each import, as `from -> to: names`.
fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let mut edges = Vec::new();
    for (from, targets) in imports(files).0 {
        for (to, names) in targets {
            let names: Vec<String> = names.into_iter().collect();
            edges.push(format!("{} -> {}: {}", from.display(), to.display(), names.join(", ")));
        }
    }
    edges
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    examine(&imports(files), None).0
}

fn faults_of_layers(files: &[(&str, &str)]) -> Vec<String> {
    examine(&imports(files), Some((&LAYERED, Path::new("lib.rs")))).0
}

/// A file for each layer, so that none is missing.
const FOLDERS: [(&str, &str); 5] = [
    ("lib.rs", "pub mod low; pub mod left; pub mod right; pub mod high;"),
    ("low/mod.rs", "pub struct Low;"),
    ("left/mod.rs", "use crate::low::Low;\npub struct Left(Low);"),
    ("right.rs", "pub struct Right(crate::low::Low);"),
    ("high/mod.rs", "use crate::{left::Left, right::Right};\npub struct High(Left, Right);"),
];

/// The same, with one file replaced or added.
fn folders_with<'a>(file: &'a str, source: &'a str) -> Vec<(&'a str, &'a str)> {
    let others = FOLDERS.into_iter().filter(|(other, _)| *other != file);
    others.chain([(file, source)]).collect()
}

#[test]
fn a_clean_crate_has_no_fault() {
    assert_eq!(faults_of_layers(&FOLDERS), [""; 0]);
    let imports = imports(&FOLDERS);
    let found = circles::find(&imports);
    assert_eq!((found.circles.len(), found.levels), (0, 3));
}

#[test]
fn an_import_from_a_layer_above_is_found() {
    let source = "pub struct Low;\nfn f() { crate::right::g(); let _: crate::right::Right; }";
    let files = folders_with("low/mod.rs", source);
    let found = faults_of_layers(&files);
    assert!(
        found.contains(&"'low/mod.rs' imports from 'right.rs', but right is above low: Right, g".to_owned()),
        "{found:?}"
    );
    // Where no circle gives it away too.
    let files = folders_with("low/mod.rs", "pub struct Low;\npub use crate::high::High;");
    let found = faults_of_layers(&files);
    assert!(
        found.contains(&"'low/mod.rs' imports from 'high/mod.rs', but high is above low: High".to_owned()),
        "{found:?}"
    );
}

#[test]
fn layers_of_a_rank_do_not_import_each_other() {
    let files = folders_with("left/mod.rs", "use crate::right::Right;\npub struct Left(Right);");
    let expected = "'left/mod.rs' imports from 'right.rs', but right is beside left: Right";
    assert_eq!(faults_of_layers(&files), [expected]);
}

#[test]
fn a_file_belongs_to_a_layer_and_a_layer_has_files() {
    let root = "pub mod low; pub mod left; pub mod right; pub mod high; mod stray;";
    let mut files = folders_with("lib.rs", root);
    files.push(("stray.rs", ""));
    assert_eq!(faults_of_layers(&files), ["'stray.rs' is in no layer: move it into a folder of one"]);
    let files = folders_with("lib.rs", "pub mod low; pub mod left; pub mod right;");
    assert_eq!(faults_of_layers(&files), ["'' has no layer high"]);
}

#[test]
fn layers_are_listed_once() {
    for layers in LAYERS {
        let mut names = layers.ranks.concat();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "'{}'", layers.package);
    }
}

#[test]
fn a_circle_is_found_through_a_facade() {
    let files = [
        ("lib.rs", "mod a; mod facade;"),
        ("a.rs", "use crate::facade::{B, help as aid};\npub struct A(B);"),
        ("facade/mod.rs", "mod b; mod c;\npub use self::{b::*, c::help};"),
        ("facade/b.rs", "use super::super::a::A;\npub struct B(A);"),
        ("facade/c.rs", "pub fn help() {}"),
    ];
    assert_eq!(
        edges(&files),
        ["a.rs -> facade/b.rs: B", "a.rs -> facade/c.rs: help", "facade/b.rs -> a.rs: A"]
    );
    assert_eq!(
        faults(&files),
        ["2 files import each other: 'a.rs', 'facade/b.rs'\n         \
          a.rs -> facade/b.rs: B\n         facade/b.rs -> a.rs: A"]
    );
}

#[test]
fn a_facade_makes_no_circle() {
    let files = [
        ("lib.rs", "mod facade;\npub use facade::{A, B};"),
        ("facade/mod.rs", "mod a; mod b;\npub use self::{a::A, b::B};"),
        ("facade/a.rs", "use crate::B;\npub struct A(B);"),
        ("facade/b.rs", "pub struct B;"),
    ];
    assert_eq!(edges(&files), ["facade/a.rs -> facade/b.rs: B"]);
    assert_eq!(faults(&files), [""; 0]);
}

#[test]
fn a_child_that_uses_its_parent_makes_a_circle() {
    let parent = "mod child; pub use self::child::Child; pub const SIZE: usize = 1;";
    let child = ("parent/child.rs", "pub struct Child([u8; super::SIZE]);");
    let files = |parent| [("lib.rs", "mod parent;"), ("parent/mod.rs", parent), child];
    // Shown only, not used.
    assert_eq!(faults(&files(parent)), [""; 0]);
    let using = format!("{parent} fn f(_: Child) {{}}");
    assert_eq!(
        faults(&files(&using)),
        ["2 files import each other: 'parent/child.rs', 'parent/mod.rs'\n         \
          parent/child.rs -> parent/mod.rs: SIZE\n         parent/mod.rs -> parent/child.rs: Child"]
    );
}

#[test]
fn every_way_to_name_something_is_followed() {
    let to = |from: &str| {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", from),
            ("b/mod.rs", "pub mod c; #[path = \"elsewhere.rs\"] pub mod d; pub mod inline { pub mod e; }"),
            ("b/c.rs", "pub struct C; pub enum E { F } #[macro_export] macro_rules! m { () => {} }"),
            ("b/elsewhere.rs", "pub fn d() {}"),
            ("b/inline/e.rs", "pub const E: u8 = 1;"),
        ];
        edges(&files).join("; ")
    };
    assert_eq!(to("use crate::{b::{self, c::{C as D}}};"), "a.rs -> b/c.rs: C; a.rs -> b/mod.rs: mod b");
    assert_eq!(to("use crate::b::{self as x}; fn f() { x::d::d() }"), "a.rs -> b/elsewhere.rs: d");
    assert_eq!(to("use crate::b; use b::c; fn f(_: c::C) {}"), "a.rs -> b/c.rs: C");
    assert_eq!(to("fn f() { crate::b::d::d() }"), "a.rs -> b/elsewhere.rs: d");
    assert_eq!(to("fn f() { println!(\"{}\", super::b::inline::e::E) }"), "a.rs -> b/inline/e.rs: E");
    assert_eq!(to("fn f() { use super::b::c::E::*; }"), "a.rs -> b/c.rs: E");
    assert_eq!(to("use crate::b::c::*; fn f(_: C) {}"), "a.rs -> b/c.rs: C");
    assert_eq!(to("use crate::b::c::*;"), "a.rs -> b/c.rs: *");
    assert_eq!(to("mod inner { use super::super::b::c::C; }"), "a.rs -> b/c.rs: C");
    assert_eq!(to("use crate::m;"), "a.rs -> b/c.rs: m");
    assert_eq!(to("use crate::b::c::WrittenByAMacro;"), "a.rs -> b/c.rs: WrittenByAMacro");
    // Other crates, and what only looks alike.
    assert_eq!(to("use std::fmt; use ::b::c::C; fn f(b: u8) { b.c(); fmt::c() }"), "");
}

#[test]
fn tests_may_look_anywhere() {
    let files = [
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod helper;"),
        ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
        ("b/mod.rs", "pub struct B(crate::a::A); #[cfg(test)] mod tests;"),
        ("b/tests.rs", "use super::*; use crate::a::A;"),
        ("helper.rs", "use crate::{a::A, b::B};"),
    ];
    assert_eq!(edges(&files), ["b/mod.rs -> a.rs: A"]);
    assert_eq!(faults(&files), [""; 0]);
}

#[test]
fn an_import_that_leads_to_itself_ends() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use crate::b::X; pub use crate::b::*;"),
        ("b.rs", "pub use crate::a::X; pub use crate::a::*; use anyhow::anyhow; fn f() { anyhow!(Y) }"),
    ];
    assert_eq!(edges(&files), ["a.rs -> b.rs: *, X", "b.rs -> a.rs: *, X"]);
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("lib.rs");
    fs::write(&root, "mod gone;").unwrap();
    let error = Modules::read(&root).err().unwrap().to_string();
    assert!(error.ends_with("lib.rs': no file holds `mod gone`"), "{error}");
}
