//! Putting the plugin and a network where a container runtime looks: an image without a shell has
//! nothing else to do it with.

use std::{
    env,
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// What the plugin is called, beside this program and where runtimes look.
const NAME: &str = "macvlan-cni";

/// Where Debian has plugins, below the directory that has `bin`.
const PACKAGED: &str = "lib/cni";

/// Most bytes of a network's file: far more than any has.
const MOST_INPUT: u64 = 1 << 20;

/// Where the plugin is that came with this program: beside it or, in the package, where Debian has
/// plugins.
///
/// # Errors
///
/// The path of this program is unknown, or the plugin is in neither place.
pub fn packaged_plugin() -> Result<PathBuf> {
    plugin_of(&env::current_exe().context("cannot find this program's own path")?)
}

fn plugin_of(program: &Path) -> Result<PathBuf> {
    let beside = program.with_file_name(NAME);
    let prefix = program.ancestors().nth(2).unwrap_or(Path::new("/"));
    let packaged = prefix.join(PACKAGED).join(NAME);
    let found = [&beside, &packaged].into_iter().find(|path| path.is_file());
    found.cloned().with_context(|| {
        format!(
            "the plugin is neither {beside:?} nor {packaged:?}: install the package again, or build {NAME}"
        )
    })
}

/// Puts the plugin at `program` into a directory, whole at any time: a runtime may run it
/// meanwhile. Gives where it is.
///
/// # Errors
///
/// The plugin is not there, or the directory cannot be written.
pub fn plugin(program: &Path, directory: &Path) -> Result<PathBuf> {
    let path = directory.join(NAME);
    let mut program = File::open(program).with_context(|| format!("cannot open the plugin {program:?}"))?;
    put(&mut program, &path, 0o755).with_context(|| format!("cannot install {path:?}"))?;
    Ok(path)
}

/// Puts a network's list of plugins into a directory, under the name that the file has.
///
/// # Errors
///
/// When it is no such list, or cannot be written.
pub fn network(file: &Path, directory: &Path) -> Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{file:?} names no file"))?;
    if file.extension().is_none_or(|extension| extension != "conflist") {
        bail!("{file:?} must end in .conflist, or no runtime reads it");
    }
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MOST_INPUT).read_to_end(&mut text));
    read.with_context(|| format!("cannot read {file:?}"))?;
    check(&text).with_context(|| format!("{file:?} is no list of plugins"))?;
    let path = directory.join(name);
    put(&mut text.as_slice(), &path, 0o644).with_context(|| format!("cannot install {path:?}"))?;
    Ok(path)
}

fn check(text: &[u8]) -> Result<()> {
    let list: Value = serde_json::from_slice(text)?;
    for key in ["cniVersion", "name"] {
        if list[key].as_str().is_none_or(str::is_empty) {
            bail!("it has no {key:?}");
        }
    }
    match list["plugins"].as_array().map(Vec::as_slice) {
        None | Some([]) => bail!("it has no \"plugins\""),
        Some(plugins) if plugins.iter().any(|plugin| !plugin["type"].is_string()) => {
            bail!("a plugin has no \"type\"")
        }
        Some(_) => Ok(()),
    }
}

/// Writes beside the place and renames.
fn put(from: &mut impl io::Read, path: &Path, mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)?;
    let beside = directory.join(format!(".{NAME}-{}", std::process::id()));
    // What a killed run left under this name is of no use.
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = io::copy(from, &mut file).and_then(|_| {
        file.flush()?;
        // Whatever the mask is.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // The error that led here is the one to report.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_whole_and_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), "what was there before").unwrap();
        let program = env::current_exe().unwrap();
        let path = plugin(&program, &directory.path().join("bin")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&program).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        let again = plugin(&program, directory.path()).unwrap();
        assert_eq!(fs::read(again).unwrap(), fs::read(&program).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something is left beside it");
    }

    #[test]
    fn the_plugin_is_beside_the_program_or_where_the_package_has_it() {
        let prefix = tempfile::tempdir().unwrap();
        let program = prefix.path().join("bin/macvlan-ctl");
        let missing = plugin_of(&program).unwrap_err().to_string();
        assert!(missing.contains("bin/macvlan-cni") && missing.contains("lib/cni/macvlan-cni"), "{missing}");
        for place in ["lib/cni/macvlan-cni", "bin/macvlan-cni"] {
            let path = prefix.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(plugin_of(&program).unwrap(), path);
        }
    }

    #[test]
    fn only_a_list_of_plugins_is_a_network() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let install = |name: &str, text: &str| {
            fs::write(from.path().join(name), text).unwrap();
            network(&from.path().join(name), to.path())
        };
        let good = r#"{"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "macvlan-cni"}]}"#;
        for text in [
            "",
            "[]",
            r#"{"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}"#,
            r#"{"cniVersion": "1.0.0", "name": "lan", "plugins": []}"#,
            r#"{"cniVersion": "1.0.0", "name": "lan", "plugins": [{}]}"#,
        ] {
            assert!(install("a.conflist", text).is_err(), "{text}");
        }
        assert!(install("a.conf", good).is_err());
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
        let path = install("a.conflist", good).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), good);
    }
}
