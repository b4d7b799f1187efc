//! Whose the namespaces of children are, as far as it matters to what they may do.

use std::collections::BTreeMap;

use futures_util::future::LocalBoxFuture;

use crate::{
    discovery::containers::Containers,
    kernel::{
        netlink::Netlink,
        netns::{NetnsId, place::Place},
    },
    model::members::Members,
    policy::{
        home::{Home, Homes},
        rules::Policies,
    },
};

/// Whether what children may do hangs on their containers: by a rule, or because something is kept for one, or is
/// to be.
pub(crate) fn matter(rules: &Policies, members: &Members) -> bool {
    rules.ask_containers() || !members.kept.is_empty() || members.are_unusual()
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Told {
    /// Whose these namespaces are.
    pub homes: Vec<(i32, Home)>,
    /// Why not everybody told who knows.
    pub silent: Option<String>,
    /// Those to which no way is known, or one that leads elsewhere by now: it was a process's.
    pub lost: Vec<i32>,
}

/// Whose these namespaces are, and why not everybody told who knows. Each answer is of the namespace that has the
/// id, whatever a path led to a moment ago.
pub(crate) async fn ask(containers: &mut Containers, netlink: &Netlink, places: Vec<Place>) -> Told {
    let places: BTreeMap<i32, Place> =
        places.into_iter().filter_map(|place| Some((place.nsid?, place))).collect();
    let mut told = Told::default();
    if places.is_empty() {
        return told;
    }
    let (mut asked, mut pathless) = (Vec::new(), Vec::new());
    for (nsid, place) in places {
        match id_of(netlink, nsid, &place).await {
            Some(id) => asked.push((nsid, id)),
            None => {
                told.lost.push(nsid);
                pathless.extend(place.label.is_none().then_some(nsid));
            }
        }
    }
    (told.homes, told.silent) = containers.homes(&asked).await;
    if told.silent.is_none() {
        // No process is in it that can be seen, and no engine hides one: no container that runs.
        told.homes.extend(pathless.into_iter().map(|nsid| (nsid, Home::Nobody)));
    }
    told
}

async fn id_of(netlink: &Netlink, nsid: i32, place: &Place) -> Option<NetnsId> {
    let netns = place.netns()?.open().ok()?;
    // Where nothing is changed, namespaces without an id are not given one.
    let is_it = nsid < 0 || netlink.nsid_of(&netns).await.ok()? == Some(nsid);
    is_it.then(|| netns.id())
}

/// Those that are asked for by one command.
#[derive(Debug, Default)]
pub struct AskedHomes {
    /// What was told.
    pub homes: Homes,
    /// Why not all of it was.
    pub silent: Option<String>,
    containers: Containers,
    ask: Option<Ask>,
}

/// How to ask. What never begins to is linked without what speaks to engines.
type Ask = for<'a> fn(&'a mut Containers, &'a Netlink, Vec<Place>) -> LocalBoxFuture<'a, Told>;

impl AskedHomes {
    /// Asks, from now on.
    pub fn begin(&mut self) {
        self.ask = Some(|containers, netlink, places| Box::pin(ask(containers, netlink, places)));
    }

    /// Asks whose these are, if that was begun.
    pub async fn learn(&mut self, netlink: &Netlink, places: impl Iterator<Item = &Place>) {
        let Some(ask) = self.ask else { return };
        let unknown = places.filter(|place| *self.homes.of(place) == Home::Unknown).cloned().collect();
        let told = ask(&mut self.containers, netlink, unknown).await;
        for (nsid, home) in told.homes {
            self.homes.learn(nsid, home);
        }
        self.silent = told.silent.or(self.silent.take());
    }
}
