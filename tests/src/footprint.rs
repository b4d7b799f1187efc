//! What must be the same after a command that only looks.

use std::{collections::BTreeSet, fs};

use crate::{lab::Lab, leak::Traces};

/// What a command could leave behind that only looks.
pub struct Footprint {
    traces: Traces,
    /// The numbers that the host's namespace has for others.
    namespace_ids: String,
    /// What is in the lab's `/run`.
    files: BTreeSet<String>,
}

impl Footprint {
    /// That of everything so far.
    #[track_caller]
    pub fn of(lab: &Lab) -> Self {
        let list = |directory: &str| -> Vec<String> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string()).collect()
        };
        Self {
            traces: Traces::of(lab),
            namespace_ids: lab.host.ns.ip("netns list-id"),
            files: lab.mounts().enter(|| ["/run", "/run/macvlan-ctl"].into_iter().flat_map(list).collect()),
        }
    }

    /// Fails unless `later` is the same.
    #[track_caller]
    pub fn assert_same(&self, later: &Self) {
        assert_eq!(later.traces, self.traces);
        assert_eq!(later.files, self.files);
        assert_eq!(later.namespace_ids, self.namespace_ids, "namespaces were numbered");
    }
}
