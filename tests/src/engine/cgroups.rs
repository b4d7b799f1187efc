//! The cgroups that an engine makes: they belong to no namespace, and do not go by themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::fail::PATIENCE;

/// The cgroups of one name at the top of every hierarchy, made by whoever uses it.
#[derive(Debug)]
pub struct Cgroups {
    name: String,
}

/// What their names begin with; the id of the test's process follows.
const PREFIX: &str = "macvlan-tests-";

impl Cgroups {
    /// Those that get this number in this process. Removes what killed tests have left.
    pub fn new(number: u32) -> Self {
        for root in hierarchies() {
            let entries = fs::read_dir(root).into_iter().flatten().flatten();
            for stale in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_stale)) {
                // Another test may be doing the same.
                let _ = remove(&stale.path());
            }
        }
        Self { name: format!("{PREFIX}{}-{number}", std::process::id()) }
    }

    /// Those that are there.
    pub fn present(&self) -> Vec<PathBuf> {
        let roots = hierarchies().into_iter().map(|root| root.join(&self.name));
        roots.filter(|root| root.exists()).collect()
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let start = Instant::now();
        for root in self.present() {
            // Processes that were killed leave their cgroups a moment later.
            while let Err(error) = remove(&root) {
                if start.elapsed() > PATIENCE {
                    eprintln!("cannot remove {}: {error}", root.display());
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Whether a cgroup is that of a process which is gone.
fn is_stale(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    process.is_some_and(|(id, _)| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists())
}

/// Where cgroups of either version are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups = fields.filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))));
    cgroups.filter_map(|fields| fields.get(1).map(PathBuf::from)).collect()
}

/// Removes a cgroup and all below; the files in it go with it.
fn remove(cgroup: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
