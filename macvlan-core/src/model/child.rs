//! A child as the kernel reports it.

use anyhow::Result;
use macvlan_common::{child::Mode, mac::Mac, port::Half};
use serde::Serializer;

use crate::{
    kernel::{
        marks::Marks,
        netlink::{
            events::changed::DeviceKey,
            ipnet::IpNet,
            kind::Kind,
            link::Link,
            macvlan::{OWNER_ALIAS, UNFINISHED_GROUP},
        },
        netns::place::Place,
    },
    model::{attachment::Attachment, container::Container, flood::FloodDevice, master::Master, port::Port},
    policy::{home::Homes, rules::Identity},
};

/// A child of a master, as the kernel reports it.
#[derive(Debug, Clone)]
pub struct Child {
    /// Name in its own namespace.
    pub name: String,
    /// Index in its own namespace.
    pub index: u32,
    /// Where it lives.
    pub place: Place,
    /// Its MAC: its key in the data path.
    pub mac: Mac,
    /// The MAC that its device has by now, where it is held to the one above.
    pub other_mac: Option<Mac>,
    /// Its MAC is the one that another device is held to.
    pub usurps: bool,
    /// The MAC that the pin for its device was made with, where there is one.
    pub program_mac: Option<Mac>,
    /// Its mode.
    pub mode: Mode,
    /// In mode source: whose frames it gets a copy of.
    pub sources: Vec<Mac>,
    /// In mode source: a program of ours keeps from it what others here send to others.
    pub is_deaf: bool,
    /// In mode source: it gets the frames themselves, and nobody else does (`nodst`).
    pub takes_all: bool,
    /// Its kind.
    pub kind: Kind,
    /// What makes it a port. `name`, `index` and `place` are those of the end that its program has; MAC, mode, MTU and
    /// whether it is up are those of its macvlan, which nobody in a container can change.
    pub port: Option<Port>,
    /// Largest L3 packet.
    pub mtu: u32,
    /// Broadcast queue length, where the kernel tells it.
    pub bcqueuelen: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// The layer below it works, as far as it knows: it follows its master's.
    pub carrier: bool,
    /// A routing protocol keeps it down.
    pub protodown: bool,
    /// We made it: that is proven.
    pub owned: bool,
    /// The CNI plugin made it, for whom: neither commands nor a configuration delete it.
    pub attachment: Option<Attachment>,
    /// Its alias, where it says either: in another namespace anybody may have written it.
    pub claims: Option<String>,
    /// We began to make it and were stopped, or it is a flood device whose master has gone to another namespace.
    pub unfinished: bool,
    /// Its IP addresses, where somebody asked for them.
    pub addresses: Vec<IpNet>,
    /// The container it belongs to, where somebody asked for it.
    pub container: Option<Container>,
}

impl Child {
    /// The child behind `link`; `None` when it is no macvlan at all.
    pub fn from_link(link: Link, place: Place) -> Option<Self> {
        let port = if place.nsid.is_none() { Port::of_macvlan(&link) } else { None };
        let kind = match link.kind.as_deref() {
            Some("macvlan") if port.is_some() => Kind::Port,
            Some("macvlan") => Kind::Macvlan,
            Some("macvtap") => Kind::Macvtap,
            _ => return None,
        };
        let is_half_made = link.group == UNFINISHED_GROUP && link.alias.is_none() && !link.up;
        // Where it was made, it is no child.
        let is_left_behind = place.nsid.is_some() && FloodDevice::was_made_as(&link);
        let claims = link.alias.filter(|alias| alias == OWNER_ALIAS || Attachment::of_alias(alias).is_some());
        let mut child = Self {
            index: link.index,
            place,
            mac: link.mac?,
            other_mac: None,
            usurps: false,
            program_mac: None,
            mode: link.mode?,
            sources: link.sources,
            is_deaf: false,
            takes_all: link.takes_all,
            kind,
            port,
            mtu: link.mtu,
            bcqueuelen: link.bcqueuelen,
            up: link.up,
            carrier: link.carrier,
            protodown: link.protodown,
            owned: false,
            attachment: None,
            claims,
            unfinished: is_half_made || is_left_behind,
            name: link.name,
            addresses: Vec::new(),
            container: None,
        };
        // In the master's own namespace it is root's word.
        if child.place.nsid.is_none() {
            child.believe();
        }
        Some(child)
    }

    /// Takes its alias for the truth.
    fn believe(&mut self) {
        let claims = self.claims.clone().unwrap_or_default();
        self.is_made_for(&claims);
    }

    fn is_made_for(&mut self, maker: &str) {
        self.owned = maker == OWNER_ALIAS;
        self.attachment = Attachment::of_alias(maker);
    }

    /// Takes for ours what bears our mark, whatever its alias says: `namespace` is the tag of the one that it is in,
    /// where that could be asked. Where nothing can be marked, its alias is all there is.
    pub fn prove(&mut self, marks: &Marks, master: u32, namespace: Option<&str>) {
        if self.key().0.is_none() {
            return;
        }
        if !Marks::are_kept() {
            return self.believe();
        }
        let mark = marks.of(self.key()).filter(|mark| mark.master == master);
        let mark = mark.filter(|mark| mark.is_of(self.mac, namespace));
        self.is_made_for(mark.map(|mark| mark.maker).as_deref().unwrap_or_default());
    }

    /// For whom we made it, as its mark and its alias say.
    pub fn maker(&self) -> Option<String> {
        let of_command = self.owned.then(|| OWNER_ALIAS.to_owned());
        self.attachment.as_ref().map(Attachment::to_string).or(of_command)
    }

    /// The key of its device on the master, in the master's namespace.
    pub fn key(&self) -> DeviceKey {
        match &self.port {
            Some(port) => (None, port.index_of(Half::Macvlan)),
            None => (self.place.nsid, self.index),
        }
    }

    /// Where its device on the master is, and the name that it has there.
    pub fn device(&self) -> (Place, &str) {
        match &self.port {
            Some(port) => (Place::default(), &port.macvlan),
            None => (self.place.clone(), &self.name),
        }
    }

    /// Whether a container may change its device on the master.
    pub fn is_in_foreign_hands(&self) -> bool {
        self.key().0.is_some()
    }

    /// The number of the port that it is; 0 where it is none, or has lost its other end.
    pub fn port_number(&self) -> u32 {
        self.port.as_ref().filter(|_| !self.unfinished).map_or(0, |port| port.number)
    }

    /// Of a port: these are its host end and, as far as one may look into its namespace, the end that its program has.
    /// The pair goes with the container; what is left of the port then is of no use.
    pub fn join(&mut self, host_end: Option<&Link>, end: Option<Link>, label: Option<String>) {
        let Some(host_end) = host_end else {
            (self.carrier, self.unfinished) = (false, true);
            return;
        };
        self.carrier &= host_end.up && host_end.carrier;
        self.place = Place { nsid: host_end.lower_nsid, label };
        self.index = host_end.lower.unwrap_or(self.index);
        if let Some(end) = end {
            self.name = end.name;
        }
    }

    /// Whether its alias says, and nothing else, that commands made it.
    pub fn only_claims(&self) -> bool {
        !self.is_ours() && self.claims.as_deref() == Some(OWNER_ALIAS)
    }

    /// Whether a data path that leaves the children of others alone has it.
    pub fn is_ours(&self) -> bool {
        self.owned || self.attachment.is_some()
    }

    /// The MAC of its device.
    pub fn device_mac(&self) -> Mac {
        self.other_mac.unwrap_or(self.mac)
    }

    /// Whether the MAC of its device is its own, as far as is known.
    pub const fn has_its_mac(&self) -> bool {
        self.other_mac.is_none() && !self.usurps
    }

    /// Whether it takes part in nothing on this master: down, protodown, without carrier where the master has
    /// one, or with another MAC than its own.
    pub const fn is_absent(&self, master: &Master) -> bool {
        self.other_mac.is_some() || !self.up || self.protodown || (master.carrier && !self.carrier)
    }

    /// Whether it is a device of the host's own unless somebody asks for it: a macvlan in the master's
    /// namespace. A macvtap is a virtual machine's, and a passthru child takes everything anyway.
    pub fn is_hosts(&self) -> bool {
        self.kind == Kind::Macvlan
            && self.place.nsid.is_none()
            && self.mode != Mode::Passthru
            && !self.is_ours()
    }

    /// What rules tell it by.
    pub fn identity<'a>(&'a self, homes: &'a Homes) -> Identity<'a> {
        Identity { name: &self.name, mac: self.mac, place: &self.place, home: homes.of(&self.place) }
    }

    /// Whether both are one device.
    pub fn is_same(&self, other: &Self) -> bool {
        self.place == other.place && self.index == other.index
    }

    /// How messages name it: `"web"`, `"web" in netns "blue"`, or `"eth0" in container docker:web`.
    pub fn title(&self) -> String {
        match (&self.container, &self.place.label) {
            (Some(container), _) => format!("{:?} in container {}", self.name, container.with_engine()),
            (None, Some(label)) => format!("{:?} in netns {label:?}", self.name),
            (None, None) => format!("{:?}", self.name),
        }
    }
}

#[cfg(test)]
impl Child {
    /// One for tests: a bridge child that somebody else made, in the master's own namespace.
    pub fn example(name: &str, mac: Mac) -> Self {
        Self {
            name: name.into(),
            index: 7,
            place: Place::default(),
            mac,
            other_mac: None,
            usurps: false,
            program_mac: None,
            mode: Mode::Bridge,
            sources: Vec::new(),
            is_deaf: false,
            takes_all: false,
            kind: Kind::Macvlan,
            port: None,
            mtu: 1500,
            bcqueuelen: None,
            up: true,
            carrier: true,
            protodown: false,
            owned: false,
            attachment: None,
            claims: None,
            unfinished: false,
            addresses: Vec::new(),
            container: None,
        }
    }
}

/// Serializes a MAC as its text.
///
/// # Errors
///
/// Those of the serializer.
pub fn mac_text<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}
