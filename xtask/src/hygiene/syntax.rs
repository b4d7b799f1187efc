//! What a source file declares and names.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, File, ImplItem, Item, ItemMacro, ItemMod, ItemUse, Meta, Token, UseTree, Visibility,
    punctuated::Punctuated,
    visit::{self, Visit},
};

/// A module, as far as it is written in one file.
#[derive(Default)]
pub struct Content {
    /// The modules that it declares.
    pub modules: Vec<Declaration>,
    pub uses: Vec<Use>,
    /// The names that it defines.
    pub items: BTreeSet<String>,
    /// The macros that it defines at the root of the crate.
    pub exported: BTreeSet<String>,
    /// The paths in its code, `use` aside.
    pub paths: BTreeSet<Vec<String>>,
}

/// `mod name;` or `mod name { ... }`.
pub struct Declaration {
    pub name: String,
    /// What `#[path]` says.
    pub path: Option<String>,
    pub inline: Option<Content>,
}

/// One leaf of a `use`.
pub struct Use {
    /// Without the `*`.
    pub path: Vec<String>,
    /// The name that it has here; none for `*`.
    pub name: Option<String>,
    /// Whether others can import it from here.
    pub public: bool,
}

/// Reads a source file. What is compiled for tests alone is left out: tests may look anywhere.
///
/// # Errors
/// It is not Rust.
pub fn read(source: &str) -> Result<Content> {
    let File { items, .. } = syn::parse_file(source).context("cannot parse it")?;
    Ok(read_items(&items))
}

fn read_items(items: &[Item]) -> Content {
    let mut content = Content::default();
    for item in items {
        content.visit_item(item);
        if let Some(name) = defined(item).filter(|_| !is_for_tests(item_attributes(item))) {
            content.items.insert(name);
        }
    }
    content
}

impl<'ast> Visit<'ast> for Content {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let inline = module.content.as_ref().map(|(_, items)| read_items(items));
        let path = module.attrs.iter().find_map(path_attribute);
        self.modules.push(Declaration { name: name(&module.ident), path, inline });
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // With `::` in front it is another crate.
        if item.leading_colon.is_none() {
            let public = !matches!(item.vis, Visibility::Inherited);
            read_use(&item.tree, &[], public, &mut self.uses);
        }
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        let exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
        self.exported.extend(item.ident.as_ref().filter(|_| exported).map(name));
        visit::visit_item_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|segment| name(&segment.ident)).collect());
        }
        visit::visit_path(self, path);
    }

    /// The name of an attribute is no path of this crate; what it is given may be.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.visit_token_stream(&list.tokens);
        }
    }

    /// `pub(in path)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    /// The input of a macro, whose syntax is its own: whatever looks like a path is taken for one.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        read_tokens(tokens, &mut self.paths);
    }
}

fn read_use(tree: &UseTree, prefix: &[String], public: bool, uses: &mut Vec<Use>) {
    let joined = |last: &syn::Ident| [prefix, &[name(last)]].concat();
    // `a::{self}` is `a`.
    let leaf =
        |last: &syn::Ident| if last == "self" && !prefix.is_empty() { prefix.to_vec() } else { joined(last) };
    match tree {
        UseTree::Path(path) => read_use(&path.tree, &joined(&path.ident), public, uses),
        UseTree::Name(leaf_name) => {
            let path = leaf(&leaf_name.ident);
            uses.push(Use { name: path.last().cloned(), path, public });
        }
        UseTree::Rename(rename) => {
            uses.push(Use { path: leaf(&rename.ident), name: Some(name(&rename.rename)), public });
        }
        UseTree::Glob(_) => uses.push(Use { path: prefix.to_vec(), name: None, public }),
        UseTree::Group(group) => group.items.iter().for_each(|tree| read_use(tree, prefix, public, uses)),
    }
}

fn read_tokens(tokens: &TokenStream, paths: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let is = |at: usize, wanted: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let is_separator = |at: usize| is(at, ':') && is(at + 1, ':');
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => read_tokens(&group.stream(), paths),
            TokenTree::Ident(first) => {
                // A field, a method, a lifetime, or a path from another crate's root or a type.
                let goes_on = at > 0 && (is(at - 1, '.') && !(at > 1 && is(at - 2, '.')) || is(at - 1, '\''))
                    || at > 1 && is_separator(at - 2);
                let mut path = vec![name(first)];
                while let (true, Some(TokenTree::Ident(next))) = (is_separator(at + 1), tokens.get(at + 3)) {
                    path.push(name(next));
                    at += 3;
                }
                if !goes_on {
                    paths.insert(path);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// Without the `r#` of a raw one.
fn name(ident: &syn::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name(ident))
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) if pair.path.is_ident("path") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// Whether `#[cfg]` leaves it out of everything but unit tests.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfgs.filter_map(|cfg| cfg.parse_args().ok()).any(|condition: Meta| needs_test(&condition))
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(needs_test)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(source: &str) -> Vec<(String, Option<String>)> {
        let uses = read(source).unwrap().uses;
        uses.into_iter().map(|leaf| (leaf.path.join("::"), leaf.name)).collect()
    }

    fn paths(source: &str) -> Vec<String> {
        read(source).unwrap().paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn every_leaf_of_a_use_is_read() {
        let source = "use crate::{a::{self, B as C, d::*}, e}; use ::other::F; use super::g as _;";
        let leaf = |path: &str, name: &str| (path.to_owned(), Some(name.to_owned()));
        assert_eq!(
            leaves(source),
            [
                leaf("crate::a", "a"),
                leaf("crate::a::B", "C"),
                ("crate::a::d".into(), None),
                leaf("crate::e", "e"),
                leaf("super::g", "_"),
            ]
        );
    }

    #[test]
    fn paths_in_macros_and_attributes_are_read() {
        assert_eq!(
            paths("fn f() { assert!(crate::a::b(x.y, super::c::<d::E>()).is_ok()); }"),
            ["assert", "crate::a::b", "d::E", "super::c", "x",]
        );
        assert_eq!(
            paths("#[arg(value_parser = crate::a::parse)] struct S;"),
            ["crate::a::parse", "value_parser"]
        );
        assert_eq!(paths("pub(in crate::a) struct S; /// crate::b\nstruct T;"), [""; 0]);
    }

    #[test]
    fn what_only_tests_have_is_left_out() {
        let source = "#[cfg(test)] mod tests { use crate::a; } #[cfg(all(test, unix))] use crate::b;
            #[cfg(any(test, unix))] use crate::c; impl S { #[cfg(test)] fn f() { crate::d() } }";
        assert_eq!(leaves(source), [("crate::c".into(), Some("c".into()))]);
        assert_eq!(paths(source), ["S"]);
        assert!(read(source).unwrap().modules.is_empty());
    }
}
