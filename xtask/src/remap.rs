//! Names for directories of this machine that are the same on every machine.

use std::path::{Path, PathBuf};

/// A directory, and what the compiler writes in its place.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Remap {
    /// The directory on this machine.
    pub from: PathBuf,
    /// Its name in what is built.
    pub to: &'static str,
}

impl Remap {
    /// Writes `to` for `from`.
    #[must_use]
    pub fn new(from: &Path, to: &'static str) -> Self {
        Self { from: from.to_owned(), to }
    }
}

/// The same, and once more for each directory that is reached through a link: the compiler shows
/// where it really is.
#[must_use]
pub fn with_links_resolved(remaps: Vec<Remap>) -> Vec<Remap> {
    let resolve = |remap: &Remap| remap.from.canonicalize().ok().map(|from| Remap { from, to: remap.to });
    let mut all: Vec<Remap> = remaps.iter().filter_map(resolve).chain(remaps.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

/// The compiler's flags, the longest directory last: of several that fit, the last one counts.
#[must_use]
pub fn flags(remaps: &[Remap]) -> Vec<String> {
    let mut ordered: Vec<&Remap> = remaps.iter().collect();
    ordered.sort_by_key(|remap| remap.from.components().count());
    ordered.iter().map(|remap| format!("--remap-path-prefix={}={}", remap.from.display(), remap.to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_within_another_counts_before_it() {
        let remaps = [("/a/b/c", "inner"), ("/a", "outer"), ("/a/b", "middle")];
        let flags = flags(&remaps.map(|(from, to)| Remap::new(Path::new(from), to)));
        assert_eq!(
            flags,
            [
                "--remap-path-prefix=/a=outer",
                "--remap-path-prefix=/a/b=middle",
                "--remap-path-prefix=/a/b/c=inner"
            ]
        );
    }

    #[test]
    fn a_link_is_named_by_both_its_ends() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let (real, link) = (base.join("real"), base.join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let all = with_links_resolved(vec![Remap::new(&link, "it"), Remap::new(&real, "it")]);
        assert_eq!(all, [Remap::new(&link, "it"), Remap::new(&real, "it")]);
        let absent = Remap::new(&base.join("absent"), "none");
        assert_eq!(with_links_resolved(vec![absent.clone()]), [absent]);
    }
}
