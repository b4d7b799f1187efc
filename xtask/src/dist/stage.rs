//! The tree of files that the package installs.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Binaries, manual, sbom};
use crate::command::{read, run};

/// Where the pages for people are.
pub const DOC: &str = "usr/share/doc/macvlan-ctl";

/// The bill of materials, in the package and beside it.
pub const SBOM: &str = "macvlan-ctl.cdx.json";

const MAN: &str = "usr/share/man";

/// The command, and the plugin where Debian has plugins; `install-cni` looks there too.
const CONTROL: &str = "usr/bin/macvlan-ctl";
const PLUGIN: &str = "usr/lib/cni/macvlan-cni";

/// Where a shell looks for completions, and the name that `generate completions` gives the shell.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/macvlan-ctl"),
    ("zsh", "usr/share/zsh/vendor-completions/_macvlan-ctl"),
    ("fish", "usr/share/fish/vendor_completions.d/macvlan-ctl.fish"),
];

/// Files of the project (units go where systemd looks whether or not `/lib` is apart from `/usr/lib`): where they are, where they go, and whether they are compressed there.
const FILES: [(&str, &str, bool); 6] = [
    ("deploy/systemd/macvlan-ctl.service", "lib/systemd/system/macvlan-ctl.service", false),
    ("deploy/systemd/macvlan-ctl@.service", "lib/systemd/system/macvlan-ctl@.service", false),
    ("deploy/debian/copyright", "usr/share/doc/macvlan-ctl/copyright", false),
    ("deploy/debian/changelog", "usr/share/doc/macvlan-ctl/changelog.Debian.gz", true),
    ("deploy/debian/lintian-overrides", "usr/share/lintian/overrides/macvlan-ctl", false),
    ("CHANGELOG.md", "usr/share/doc/macvlan-ctl/changelog.gz", true),
];

/// Examples, which go to a directory of their own.
const EXAMPLES: [&str; 4] = [
    "deploy/config.toml",
    "deploy/grafana/macvlan-ctl.json",
    "deploy/prometheus/macvlan-ctl.rules.yml",
    "deploy/prometheus/prometheus.yml",
];

/// Pages for people, and the directory of the others.
const README: &str = "README.md";
const PAGES: &str = "docs";

/// Fills `tree` with everything but the package's own data.
///
/// # Errors
/// A file is missing or cannot be written, or the command does not write its pages.
pub fn fill(root: &Path, binaries: &Binaries, tree: &Path) -> Result<()> {
    let binary = &binaries.control;
    put(&read_file(binary)?, &tree.join(CONTROL), 0o755)?;
    put(&read_file(&binaries.plugin)?, &tree.join(PLUGIN), 0o755)?;
    for (from, to, compressed) in FILES {
        let content = read_file(&root.join(from))?;
        put(&if compressed { gzip(&root.join(from))? } else { content }, &tree.join(to), 0o644)?;
    }
    for example in EXAMPLES {
        let name = Path::new(example).file_name().context("an example has no name")?;
        put(&read_file(&root.join(example))?, &tree.join(DOC).join("examples").join(name), 0o644)?;
    }
    put(&read_file(&root.join(README))?, &tree.join(DOC).join(README), 0o644)?;
    let pages_of_docs = fs::read_dir(root.join(PAGES)).context("cannot list the pages")?;
    for page in pages_of_docs {
        let page = page.context("cannot list the pages")?;
        put(&read_file(&page.path())?, &tree.join(DOC).join(PAGES).join(page.file_name()), 0o644)?;
    }
    put(sbom::bill(root)?.as_bytes(), &tree.join(DOC).join(SBOM), 0o644)?;
    for (shell, to) in COMPLETIONS {
        let script = read(Command::new(binary).args(["generate", "completions", shell]))?;
        put(script.as_bytes(), &tree.join(to), 0o644)?;
    }
    // Empty: where the configuration goes is plain to see, and purging knows what to look into.
    directory(&tree.join("etc/macvlan-ctl"))?;
    pages(root, binary, &tree.join(MAN))
}

/// Writes the manual pages, and puts each compressed into the directory of its section.
fn pages(root: &Path, binary: &Path, man: &Path) -> Result<()> {
    let written = man.join("written");
    directory(&written)?;
    run(Command::new(binary).args(["generate", "man"]).arg(&written))?;
    put(manual::of_plugin(root)?.as_bytes(), &written.join("macvlan-cni.8"), 0o644)?;
    let cannot_list = || format!("cannot list '{}'", written.display());
    for entry in fs::read_dir(&written).with_context(cannot_list)? {
        let page = entry.with_context(cannot_list)?.path();
        let section =
            page.extension().and_then(|section| section.to_str()).context("a page has no section")?;
        let name = page.file_name().context("a page has no name")?;
        let place = man.join(format!("man{section}")).join(name).with_added_extension("gz");
        put(&gzip(&page)?, &place, 0o644)?;
    }
    fs::remove_dir_all(&written).with_context(|| format!("cannot remove '{}'", written.display()))
}

/// The file as `gzip` packs it, without its name and time.
fn gzip(file: &Path) -> Result<Vec<u8>> {
    let packed = Command::new("gzip").args(["-9", "-n", "--stdout"]).arg(file).output();
    let packed = packed.context("cannot run 'gzip'")?;
    anyhow::ensure!(packed.status.success(), "'gzip' failed: {}", String::from_utf8_lossy(&packed.stderr));
    Ok(packed.stdout)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))
}

/// Writes a file with these permissions, whatever the user's mask, and the directories above it.
///
/// # Errors
/// It cannot be written.
pub fn put(content: &[u8], path: &Path, mode: u32) -> Result<()> {
    directory(path.parent().unwrap_or(path))?;
    fs::write(path, content).with_context(|| format!("cannot write '{}'", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the permissions of '{}'", path.display()))
}

/// Makes a directory that everybody can read, whatever the user's mask, and those above it.
fn directory(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(path).with_context(|| format!("cannot create '{}'", path.display()))?;
    for made in missing {
        fs::set_permissions(made, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot set the permissions of '{}'", made.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_has_its_permissions_at_every_level() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("a/b/c");
        put(b"x", &file, 0o755).unwrap();
        for path in [file.clone(), base.path().join("a"), base.path().join("a/b")] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755, "{path:?}");
        }
    }

    #[test]
    fn a_file_is_packed_the_same_wherever_and_whenever() {
        let base = tempfile::tempdir().unwrap();
        let (one, other) = (base.path().join("one"), base.path().join("other"));
        for path in [&one, &other] {
            fs::write(path, "the same text").unwrap();
        }
        fs::File::options().write(true).open(&one).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(gzip(&one).unwrap(), gzip(&other).unwrap());
    }
}
