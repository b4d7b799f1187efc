//! Names of containers for the children of a view: asking an engine takes its time, so a view is
//! shown at once with the names that are known, and again with all of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use macvlan_core::{
    discovery::containers::Containers,
    follow::snapshot::Snapshot,
    kernel::netns::place::Place,
    model::{container::Container, status::ChildStatus},
};
use tokio::{sync::watch, time::timeout};

/// An engine may name a container some time after its namespace came.
const AGAIN: Duration = Duration::from_secs(10);

/// Passes views on with the names of containers, until there are no more.
pub async fn name_containers(mut views: watch::Receiver<Arc<Snapshot>>, named: watch::Sender<Arc<Snapshot>>) {
    let mut containers = Containers::default();
    let mut known: HashMap<Place, Container> = HashMap::new();
    loop {
        let view = Snapshot::clone(&views.borrow_and_update());
        let mut shown = view.clone();
        for child in children(&mut shown) {
            child.container = known.get(&place(child)).cloned();
        }
        named.send_replace(Arc::new(shown));

        let mut shown = view;
        known.clear();
        for child in children(&mut shown) {
            child.container = containers.of(&place(child)).await;
            known.extend(child.container.clone().map(|container| (place(child), container)));
        }
        named.send_replace(Arc::new(shown));
        if let Ok(Err(_)) = timeout(AGAIN, views.changed()).await {
            return;
        }
    }
}

fn children(view: &mut Snapshot) -> impl Iterator<Item = &mut ChildStatus> {
    view.masters.iter_mut().flat_map(|master| &mut master.status.children)
}

fn place(child: &ChildStatus) -> Place {
    Place { nsid: child.netnsid, label: child.netns.clone() }
}
