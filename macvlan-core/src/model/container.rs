//! A container, as its engine names it.

use serde::Serialize;

/// A container of an engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Container {
    /// "docker", "podman", "containerd" or "cri-o".
    pub engine: &'static str,
    /// Its id, in full.
    pub id: String,
    /// Its name, where the engine tells it.
    pub name: Option<String>,
}
