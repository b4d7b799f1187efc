//! The page about security names a test for each thing that holds: there is one of that name.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use crate::workspace::{self, read_text};

/// The page, and where its tests are.
const PAGE: &str = "docs/security.md";
const TESTS: &str = "tests/tests/";

/// Every test that the page names and that is not there, as a sentence.
///
/// # Errors
/// The page or a test cannot be read.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let page = read_text(&root.join(PAGE))?;
    let mut there = BTreeSet::new();
    for path in workspace::files(root)? {
        let Some(rest) = path.to_str().and_then(|path| path.strip_prefix(TESTS)) else { continue };
        let Some(module) = Path::new(rest).file_stem().and_then(|stem| stem.to_str()) else { continue };
        if rest.ends_with(".rs") {
            let text = read_text(&root.join(&path))?;
            there.extend(functions(&text).map(|function| format!("{module}::{function}")));
        }
    }
    let missing = named(&page).filter(|name| !there.contains(*name));
    Ok(missing.map(|name| format!("{PAGE} names `{name}`, which is no test in {TESTS}")).collect())
}

/// What stands in backquotes and has a module and a function.
fn named(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && !word.contains(' '))
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("fn ")?.split('(').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_page_and_tests() {
        let page = "| a | `run` | `hostile::hides` |\n`Config::DROP x` and `guard::holds`";
        assert_eq!(named(page).collect::<Vec<_>>(), ["hostile::hides", "guard::holds"]);
        let text = "#[test]\nfn hides() {\n    fn inner() {}\n}\nfn holds<T>() {";
        assert_eq!(functions(text).collect::<Vec<_>>(), ["hides", "holds<T>"]);
    }
}
