//! Whose a child's namespace is: the container, as its engine told it. What the container itself says is not asked.

use std::collections::BTreeMap;

use macvlan_common::child::KEPT_NAME_LEN;

use crate::kernel::netns::place::Place;

/// Whose a namespace is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Home {
    /// Nobody has told yet.
    #[default]
    Unknown,
    /// No container's.
    Nobody,
    /// A container's.
    Container(Facts),
}

impl Home {
    /// Whether all is known that kept settings ask for.
    pub fn is_named(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Nobody => true,
            Self::Container(facts) => facts.name.is_some(),
        }
    }

    /// Whether all is known that rules and kept settings ask for.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Nobody => true,
            Self::Container(facts) => facts.name.is_some() && facts.origin.is_some(),
        }
    }
}

/// What an engine told of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// "docker", "podman", "containerd" or "cri-o".
    pub engine: &'static str,
    /// Its id, in full.
    pub id: String,
    /// Its name, where the engine tells it.
    pub name: Option<String>,
    /// Its image and labels, likewise.
    pub origin: Option<Origin>,
}

/// What a container was made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The image, as it was asked for.
    pub image: String,
    /// `key=value` each.
    pub labels: Vec<String>,
}

/// As many digits of an id as engines show.
const SHORT_ID: usize = 12;

impl Facts {
    /// All that a person may call it by: `web`, `docker:web`, its id, in full and short.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let name = self.name.iter().flat_map(|name| [name.clone(), format!("{}:{name}", self.engine)]);
        let short = self.id.get(..SHORT_ID).unwrap_or(&self.id);
        name.chain([self.id.clone(), short.to_owned()])
    }

    /// What settings are kept by: the name with the engine. A container without a name never comes back.
    pub fn keeper(&self) -> Option<String> {
        let by_name = format!("{}:{}", self.engine, self.name.as_ref()?);
        let fits = by_name.len() <= KEPT_NAME_LEN;
        Some(if fits { by_name } else { format!("{}:{}", self.engine, self.id) })
    }
}

/// Whose the namespaces are that children of a master live in, by their ids there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Homes(BTreeMap<i32, Home>);

impl Homes {
    /// Whose the namespace of a child is: the master's own is nobody's.
    pub fn of(&self, place: &Place) -> &Home {
        match place.nsid {
            None => &Home::Nobody,
            Some(nsid) => self.0.get(&nsid).unwrap_or(&Home::Unknown),
        }
    }

    /// Takes an answer. Gives whether it is another than before.
    pub fn learn(&mut self, nsid: i32, home: Home) -> bool {
        self.0.insert(nsid, home.clone()).unwrap_or_default() != home
    }

    /// Forgets whose a namespace is: its id may become another's.
    pub fn forget(&mut self, nsid: i32) {
        self.0.remove(&nsid);
    }
}
