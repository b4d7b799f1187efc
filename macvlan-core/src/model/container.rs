//! A container, as its engine names it.

use serde::Serialize;

use crate::model::printable::printable;

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

/// As many digits of an id as engines show.
const SHORT_ID: usize = 12;

impl Container {
    /// The name or, without one, the short id that engines show.
    pub fn known_name(&self) -> &str {
        let short = self.id.get(..SHORT_ID).unwrap_or(&self.id);
        self.name.as_deref().unwrap_or(short)
    }

    /// The same with the engine, `docker:web`. Harmless to a terminal.
    pub fn with_engine(&self) -> String {
        format!("{}:{}", self.engine, printable(self.known_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_shown_by_its_name_or_a_short_id() {
        let shown = |name: Option<&str>| {
            let id = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a".into();
            Container { engine: "docker", id, name: name.map(Into::into) }.with_engine()
        };
        assert_eq!((shown(Some("web")), shown(None)), ("docker:web".into(), "docker:ed6e59f70b86".into()));
    }
}
