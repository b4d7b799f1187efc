//! The file beside the committed BPF object that says where it comes from.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{object, sources, toolchain::Toolchain, workspace::read_text};

const HEADING: &str = "\
# Where macvlan.bpfel.o comes from. Written by `cargo xtask build-ebpf`, which also makes the object;
# `cargo xtask build-ebpf --check` tells whether both are still what the sources give.

";

/// What is known about an object.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The compiler, commit included.
    pub compiler: String,
    /// The release of `bpf-linker`.
    pub bpf_linker: String,
    /// What it was made from: see [`sources::hash`].
    pub sources_sha256: String,
    /// The object itself.
    pub object_sha256: String,
    /// Its size in bytes.
    pub object_size: usize,
    /// Instructions of each program; those of the functions they share are under `.text`.
    pub instructions: BTreeMap<String, u64>,
}

impl Provenance {
    /// Describes `elf`, built from sources of this hash.
    ///
    /// # Errors
    /// The object is not whole.
    pub fn of(elf: &[u8], sources_sha256: String, toolchain: &Toolchain) -> Result<Self> {
        let linker = toolchain.linker.as_ref().context("there is no bpf-linker")?;
        Ok(Self {
            compiler: toolchain.rustc.clone(),
            bpf_linker: linker.release.clone(),
            sources_sha256,
            object_sha256: sources::sha256(elf),
            object_size: elf.len(),
            instructions: object::inspect(elf)?,
        })
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub fn open(path: &Path) -> Result<Self> {
        toml::from_str(&read_text(path)?).with_context(|| format!("cannot parse '{}'", path.display()))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None that could be made to happen: every field has a TOML form.
    pub fn text(&self) -> Result<String> {
        Ok(format!("{HEADING}{}", toml::to_string(self).context("cannot write the provenance")?))
    }

    /// Why this does not describe an object of these sources; `None` when it does.
    #[must_use]
    pub fn mismatch(&self, sources_sha256: &str, elf: &[u8]) -> Option<&'static str> {
        if self.sources_sha256 != sources_sha256 {
            Some("its sources have changed since it was built")
        } else if self.object_sha256 != sources::sha256(elf) {
            Some("it is not the object that was built from them")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("PROVENANCE.toml");
        std::fs::write(&path, example().text().unwrap()).unwrap();
        assert_eq!(Provenance::open(&path).unwrap(), example());
    }

    #[test]
    fn other_sources_are_noticed_before_another_object() {
        let changed = Some("its sources have changed since it was built");
        assert_eq!(example().mismatch("5678", b"other"), changed);
        let exchanged = Some("it is not the object that was built from them");
        assert_eq!(example().mismatch("1234", b"other"), exchanged);
        assert_eq!(example().mismatch("1234", b"elf"), None);
    }

    fn example() -> Provenance {
        Provenance {
            compiler: "rustc 1.2.3".into(),
            bpf_linker: "0.1.0".into(),
            sources_sha256: "1234".into(),
            object_sha256: sources::sha256(b"elf"),
            object_size: 3,
            instructions: [(".text".into(), 5), ("program".into(), 7)].into(),
        }
    }
}
