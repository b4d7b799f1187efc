//! Names that Podman keeps in files: it has no daemon, and its socket is often not in use.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::discovery::containers::{
    cgroup::is_id,
    engine::{Listed, valid_name},
};

/// Where Podman of root keeps containers; also CRI-O.
pub const STORAGE: &str = "/var/lib/containers/storage";

/// Storage drivers, each with a directory of its own.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// Files with lists of containers: those kept, and those that go with the machine.
const FILES: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// Most bytes of such a file.
const MAX_LEN: u64 = 8 << 20;

/// The containers below `storage`, running or not.
pub fn stored(storage: &Path) -> Vec<Listed> {
    let mut found = Vec::new();
    for driver in DRIVERS {
        let directory = storage.join(format!("{driver}-containers"));
        for path in FILES.map(|file| directory.join(file)).into_iter().filter(|path| path.exists()) {
            match read(&path) {
                Ok(entries) => found.extend(entries.into_iter().filter_map(Entry::into_listed)),
                Err(error) => log::debug!("cannot read \"{}\": {error:#}", path.display()),
            }
        }
    }
    found
}

fn read(path: &PathBuf) -> Result<Vec<Entry>> {
    ensure!(fs::symlink_metadata(path)?.is_file(), "no plain file");
    let mut text = Vec::new();
    File::open(path)?.take(MAX_LEN + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= MAX_LEN, "more than {MAX_LEN} bytes");
    Ok(serde_json::from_slice(&text)?)
}

/// `Container` of github.com/containers/storage.
#[derive(Deserialize)]
struct Entry {
    id: String,
    names: Option<Vec<String>>,
}

impl Entry {
    fn into_listed(self) -> Option<Listed> {
        let name = self.names.unwrap_or_default().iter().find_map(|name| valid_name(name));
        is_id(&self.id).then_some(Listed { id: self.id, name, joined: None, has_netns: false, origin: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "609a6f77d8fa026b7c0c2566c70ec21972c1710a53890801b5f7086500711bf2";

    #[test]
    fn names_are_found_with_any_driver_and_garbage_gives_none() {
        let storage = tempfile::tempdir().unwrap();
        assert_eq!(stored(storage.path()), []);
        let write = |driver: &str, file: &str, text: &str| {
            let directory = storage.path().join(format!("{driver}-containers"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(file), text).unwrap();
        };
        write("overlay", "containers.json", "[{\"id\":17}]");
        write("btrfs", "containers.json", &"[".repeat(100_000));
        write("zfs", "containers.json", "[{\"id\":\"short\",\"names\":[\"no\"]}]");
        write(
            "vfs",
            "containers.json",
            &format!("[{{\"id\":\"{ID}\",\"names\":[\"web\"],\"layer\":\"x\"}}]"),
        );
        write("vfs", "volatile-containers.json", &format!("[{{\"id\":\"{ID}\",\"names\":null}}]"));
        let listed = |name: Option<&str>| Entry { id: ID.into(), names: name.map(|name| vec![name.into()]) };
        let listed = |name| listed(name).into_listed().unwrap();
        assert_eq!(stored(storage.path()), [listed(Some("web")), listed(None)]);
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let storage = tempfile::tempdir().unwrap();
        let directory = storage.path().join("vfs-containers");
        fs::create_dir_all(&directory).unwrap();
        nix::unistd::mkfifo(&directory.join(FILES[0]), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(stored(storage.path()), []);
    }
}
