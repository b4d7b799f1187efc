//! What changed, as `monitor` prints it and `run` acts on it.

use std::{fmt, net::IpAddr};

use macvlan_common::mac::Mac;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    kernel::netlink::link::Link,
    model::{child::Child, printable::Printable},
};

/// What happened to a child or a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is there now.
    Added,
    /// It is gone.
    Removed,
    /// It is in another namespace now; where it was.
    Moved(String),
    /// It has another name now; the one it had.
    Renamed(String),
    /// It has another MAC now; the one it had.
    Readdressed(Mac),
    /// It has another mode now; the one it had.
    Mode(&'static str),
    /// It was brought up.
    Up,
    /// It was brought down.
    Down,
    /// It has another MTU now; the one it had.
    Mtu(u32),
    /// Its IP addresses changed.
    Addresses,
    /// Its MAC was heard on the wire, and nothing of it here since.
    Elsewhere,
    /// It has sent since its MAC was heard on the wire.
    Here,
    /// It is known now which container it is in.
    Container,
    /// Whether it reaches the host was changed, to this.
    HostAccess(bool),
    /// Another one claims this address of it, too.
    Contested(IpAddr),
    /// That is over.
    Uncontested(IpAddr),
    /// There is hardly room for another address of it, or none at all for its children's.
    AddressesFull,
    /// There is room again.
    AddressesFit,
    /// A data path is on the master now.
    Attached,
    /// The data path is off the master.
    Detached,
    /// It has another owner, state of making, carrier or protodown now: of no interest to people.
    Marked,
}

impl What {
    /// Its name in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Moved(_) => "moved",
            Self::Renamed(_) => "renamed",
            Self::Readdressed(_) => "readdressed",
            Self::Mode(_) => "mode",
            Self::Up => "up",
            Self::Down => "down",
            Self::Mtu(_) => "mtu",
            Self::Addresses => "addresses",
            Self::Elsewhere => "elsewhere",
            Self::Here => "here",
            Self::Container => "container",
            Self::HostAccess(_) => "host-access",
            Self::Contested(_) => "contested",
            Self::Uncontested(_) => "uncontested",
            Self::AddressesFull => "addresses-full",
            Self::AddressesFit => "addresses-fit",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Marked => "marked",
        }
    }

    /// What was before, where that says more than the opposite.
    pub fn was(&self) -> Option<String> {
        match self {
            Self::Moved(was) | Self::Renamed(was) => Some(was.clone()),
            Self::Readdressed(was) => Some(was.to_string()),
            Self::Mode(was) => Some((*was).to_owned()),
            Self::Mtu(was) => Some(was.to_string()),
            Self::HostAccess(is) => Some(if *is { "off" } else { "on" }.to_owned()),
            _ => None,
        }
    }
}

/// One thing that changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub what: What,
    /// To whom.
    pub subject: Subject,
}

/// Whom a change is about, as it is now or, if removed, was.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A child, and its master's index and name.
    Child {
        /// Index of its master.
        master: u32,
        /// Name of its master.
        link: String,
        /// Itself.
        child: Box<Child>,
    },
    /// A device that could be a master.
    Device(Box<Link>),
}

impl Change {
    /// Index of the master that it is about.
    pub fn master(&self) -> u32 {
        match &self.subject {
            Subject::Child { master, .. } => *master,
            Subject::Device(link) => link.index,
        }
    }

    /// Whether it is about a child, not a master.
    pub fn is_about_child(&self) -> bool {
        matches!(self.subject, Subject::Child { .. })
    }

    /// Whether the kernel announces a master for such a change.
    pub fn explains_announcement(&self) -> bool {
        match (&self.subject, &self.what) {
            (Subject::Child { .. }, What::Added | What::Removed) => true,
            (Subject::Child { .. }, _) | (_, What::Removed) => false,
            (Subject::Device(_), _) => true,
        }
    }
}

/// A child that went from one place and came to another is the same child.
pub fn join_moves(changes: Vec<Change>) -> Vec<Change> {
    let mut joined: Vec<Change> = Vec::new();
    for change in changes {
        if let Some(index) = joined.iter().position(|earlier| is_same_move(earlier, &change)) {
            let earlier = joined.remove(index);
            let (removed, mut added) =
                if earlier.what == What::Removed { (earlier, change) } else { (change, earlier) };
            if let Subject::Child { child, .. } = &removed.subject {
                added.what = What::Moved(place_of(child));
            }
            joined.push(added);
        } else {
            joined.push(change);
        }
    }
    joined
}

fn is_same_move(one: &Change, other: &Change) -> bool {
    let (Subject::Child { master, child, .. }, Subject::Child { master: master_too, child: child_too, .. }) =
        (&one.subject, &other.subject)
    else {
        return false;
    };
    let opposite =
        matches!((&one.what, &other.what), (What::Added, What::Removed) | (What::Removed, What::Added));
    opposite && master == master_too && child.mac == child_too.mac && child.place.nsid != child_too.place.nsid
}

fn place_of(child: &Child) -> String {
    match (&child.place.label, child.place.nsid) {
        (Some(label), _) => label.clone(),
        (None, Some(nsid)) if nsid >= 0 => format!("nsid {nsid}"),
        (None, Some(_)) => "a namespace without a name".to_owned(),
        (None, None) => "the master's".to_owned(),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = self.what.was().unwrap_or_default();
        match &self.subject {
            Subject::Child { link, child, .. } => {
                let (link, title, mode) = (Printable(link), child.title(), child.mode.as_str());
                write!(f, "{link}: child {title} ({}, {mode})", child.mac)?;
                match &self.what {
                    What::Added => f.write_str(" added"),
                    What::Removed => f.write_str(" removed"),
                    What::Moved(_) => write!(f, " moved from {}", Printable(&was)),
                    What::Renamed(_) => write!(f, " renamed from {was:?}"),
                    What::Readdressed(_) => write!(f, " has a new MAC, it was {was}"),
                    What::Mode(_) => write!(f, " has a new mode, it was {was}"),
                    What::Mtu(_) => write!(f, " has MTU {}, it was {was}", child.mtu),
                    What::Up => f.write_str(" up"),
                    What::Down => f.write_str(" down"),
                    What::Addresses if child.addresses.is_empty() => f.write_str(" has no address"),
                    What::Addresses => {
                        f.write_str(" has")?;
                        child.addresses.iter().try_for_each(|net| write!(f, " {net}"))
                    }
                    What::Elsewhere => f.write_str(" is elsewhere: its MAC was heard on the wire"),
                    What::Here => f.write_str(" is here again"),
                    What::Container => f.write_str(" has its name now"),
                    What::HostAccess(true) => f.write_str(" reaches the host now"),
                    What::HostAccess(false) => f.write_str(" no longer reaches the host"),
                    What::Contested(ip) => write!(f, " has {ip}, which another one claims, too"),
                    What::Uncontested(ip) => write!(f, " has {ip} for itself again"),
                    What::AddressesFull => {
                        f.write_str(" uses so many addresses that another one of it may not be reached")
                    }
                    What::AddressesFit => f.write_str(" has room for more addresses again"),
                    what @ (What::Attached | What::Detached) => write!(f, " {}", what.as_str()),
                    What::Marked => f.write_str(" marked"),
                }
            }
            Subject::Device(link) => {
                write!(f, "{}: device", Printable(&link.name))?;
                match &self.what {
                    What::Readdressed(_) => {
                        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
                        write!(f, " has MAC {mac}, it was {was}")
                    }
                    What::Renamed(_) => write!(f, " renamed from {was:?}"),
                    What::Mtu(_) => write!(f, " has MTU {}, it was {was}", link.mtu),
                    What::AddressesFull => {
                        f.write_str(" has no room for more addresses of children: more are not reached")
                    }
                    What::AddressesFit => f.write_str(" has room for more addresses of children again"),
                    what => write!(f, " {}", what.as_str()),
                }
            }
        }
    }
}

impl Serialize for Change {
    /// One flat object with the key names of `ip -j link`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", self.what.as_str())?;
        match &self.subject {
            Subject::Child { link, child, .. } => {
                map.serialize_entry("link", link)?;
                map.serialize_entry("ifname", &child.name)?;
                map.serialize_entry("ifindex", &child.index)?;
                map.serialize_entry("netns", &child.place.label)?;
                map.serialize_entry("netnsid", &child.place.number())?;
                map.serialize_entry("address", &child.mac.to_string())?;
                map.serialize_entry("mode", child.mode.as_str())?;
                map.serialize_entry("kind", &child.kind)?;
                map.serialize_entry("mtu", &child.mtu)?;
                map.serialize_entry("up", &child.up)?;
                let addresses: Vec<String> = child.addresses.iter().map(ToString::to_string).collect();
                map.serialize_entry("addresses", &addresses)?;
                map.serialize_entry("container", &child.container)?;
                if let What::HostAccess(is) = &self.what {
                    map.serialize_entry("host_access", is)?;
                }
                if let What::Contested(ip) | What::Uncontested(ip) = &self.what {
                    map.serialize_entry("local", ip)?;
                }
            }
            Subject::Device(link) => {
                map.serialize_entry("ifname", &link.name)?;
                map.serialize_entry("ifindex", &link.index)?;
                map.serialize_entry("address", &link.mac.map(|mac| mac.to_string()))?;
                map.serialize_entry("mtu", &link.mtu)?;
                map.serialize_entry("up", &link.up)?;
            }
        }
        map.serialize_entry("was", &self.what.was())?;
        map.end()
    }
}

/// What is different about a child.
pub fn differences(before: &Child, now: &Child) -> Vec<What> {
    let mut differences = Vec::new();
    if before.name != now.name {
        differences.push(What::Renamed(before.name.clone()));
    }
    if before.mac != now.mac {
        differences.push(What::Readdressed(before.mac));
    }
    if before.mode != now.mode {
        differences.push(What::Mode(before.mode.as_str()));
    }
    if before.mtu != now.mtu {
        differences.push(What::Mtu(before.mtu));
    }
    if before.up != now.up {
        differences.push(if now.up { What::Up } else { What::Down });
    }
    let marks = |child: &Child| (child.is_ours(), child.unfinished, child.carrier, child.protodown);
    let hears = |child: &Child| (child.takes_all, child.sources.clone());
    if marks(before) != marks(now) || hears(before) != hears(now) {
        differences.push(What::Marked);
    }
    differences
}
