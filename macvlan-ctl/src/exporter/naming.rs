//! Names of containers for the children of a view: asking an engine takes its time, so a view is
//! shown at once with the names that are known, and again with all of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use macvlan_common::mac::Mac;
use macvlan_core::{
    discovery::containers::Containers,
    follow::snapshot::Snapshot,
    kernel::netns::place::Place,
    model::{container::Container, status::ChildStatus},
};
use tokio::{sync::watch, time::timeout};

/// An engine may name a container some time after its namespace came.
const AGAIN: Duration = Duration::from_secs(10);

/// How long a MAC keeps the name of its container where its namespace has none: a container that is
/// started again has its namespace before its engine says so.
const KEEPS: Duration = Duration::from_secs(60);

/// Passes views on with the names of containers, until there are no more.
pub async fn name_containers(mut views: watch::Receiver<Arc<Snapshot>>, named: watch::Sender<Arc<Snapshot>>) {
    let (mut containers, mut names) = (Containers::default(), Names::default());
    loop {
        let view = Snapshot::clone(&views.borrow_and_update());
        let mut shown = view.clone();
        names.recall(&mut shown);
        named.send_replace(Arc::new(shown));

        let mut told = HashMap::new();
        for child in view.masters.iter().flat_map(|master| &master.status.children) {
            told.insert(place(child), containers.of(&place(child)).await);
        }
        let mut shown = view;
        names.learn(&shown, told, Instant::now());
        names.recall(&mut shown);
        named.send_replace(Arc::new(shown));
        if let Ok(Err(_)) = timeout(AGAIN, views.changed()).await {
            return;
        }
    }
}

/// A view before anybody has asked for containers.
pub fn unnamed(view: &Snapshot) -> Snapshot {
    let mut view = view.clone();
    Names::default().recall(&mut view);
    view
}

/// The containers that are known.
#[derive(Default)]
struct Names {
    /// By namespace; `None` is in no container.
    places: HashMap<Place, Option<Container>>,
    /// By master and MAC, and when that was told: they stay when a container is started again.
    macs: BTreeMap<(String, Mac), (Instant, Container)>,
}

impl Names {
    /// Takes what was told of all namespaces in `view`.
    fn learn(&mut self, view: &Snapshot, told: HashMap<Place, Option<Container>>, now: Instant) {
        self.places = told;
        for master in &view.masters {
            for child in &master.status.children {
                if let Some(Some(container)) = self.places.get(&place(child)) {
                    let key = (master.status.ifname.clone(), child.address);
                    self.macs.insert(key, (now, container.clone()));
                }
            }
        }
        self.macs.retain(|_, (at, _)| now.saturating_duration_since(*at) < KEEPS);
    }

    /// Fills in the containers; those of which nothing is known are marked.
    fn recall(&self, view: &mut Snapshot) {
        for master in &mut view.masters {
            master.unnamed.clear();
            for child in &mut master.status.children {
                let asked = self.places.get(&place(child));
                let of_mac = || self.macs.get(&(master.status.ifname.clone(), child.address));
                let is_away = child.netns.is_some() || child.netnsid.is_some();
                child.container = match asked {
                    Some(Some(container)) => Some(container.clone()),
                    _ if is_away => of_mac().map(|(_, container)| container.clone()),
                    _ => None,
                };
                if asked.is_none() && child.container.is_none() {
                    master.unnamed.insert(child.address);
                }
            }
        }
    }
}

fn place(child: &ChildStatus) -> Place {
    Place { nsid: child.netnsid, label: child.netns.clone() }
}

#[cfg(test)]
mod tests {
    use macvlan_core::follow::snapshot::MasterSnapshot;

    use super::*;
    use crate::exporter::render::tests::attached;

    /// A view of one child, in a namespace of this number.
    fn view(netnsid: i32) -> Snapshot {
        let mut status = attached().status;
        let child = &mut status.children[0];
        (child.netns, child.netnsid, child.container) = (None, Some(netnsid), None);
        Snapshot { masters: vec![MasterSnapshot::new(status, None)], waiting: Vec::new() }
    }

    fn told(netnsid: i32, name: Option<&str>) -> HashMap<Place, Option<Container>> {
        let id = netnsid.to_string();
        let container = name.map(|name| Container { engine: "docker", id, name: Some(name.into()) });
        [(Place { nsid: Some(netnsid), label: None }, container)].into()
    }

    /// The child's container, and whether it has been asked for.
    fn shown(names: &Names, netnsid: i32) -> (Option<String>, bool) {
        let mut view = view(netnsid);
        names.recall(&mut view);
        let master = &view.masters[0];
        let container = master.status.children[0].container.as_ref();
        (container.and_then(|container| container.name.clone()), master.unnamed.is_empty())
    }

    #[test]
    fn a_container_that_is_started_again_has_its_name_all_the_while() {
        let (mut names, mut now) = (Names::default(), Instant::now());
        let web = || (Some("web".to_owned()), true);
        assert_eq!(shown(&names, 1), (None, false));
        names.learn(&view(1), told(1, Some("web")), now);
        for netnsid in 2..8 {
            assert_eq!(shown(&names, netnsid), web(), "before anybody asked");
            names.learn(&view(netnsid), told(netnsid, None), now);
            assert_eq!(shown(&names, netnsid), web(), "before its engine knows");
            now += KEEPS / 2;
            names.learn(&view(netnsid), told(netnsid, Some("web")), now);
            assert_eq!(shown(&names, netnsid), web());
        }
        names.learn(&view(9), told(9, Some("db")), now);
        assert_eq!(shown(&names, 9).0.as_deref(), Some("db"));
        // That of a container that is gone for good is forgotten.
        names.learn(&view(10), told(10, None), now + KEEPS);
        assert_eq!(shown(&names, 10), (None, true));
    }
}
