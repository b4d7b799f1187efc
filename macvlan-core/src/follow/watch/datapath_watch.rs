//! What the programs learn and other commands set, which no event of the kernel tells: looked at now and then.

use std::collections::BTreeMap;

use crate::{
    datapath::Datapath as _,
    datapath::bpf::{
        attached::{self, Bpf, Found},
        hooks::child_pins::as_held,
    },
    discovery::masters::master_of_link,
    follow::{
        tell,
        watch::{
            change::{Change, Subject, What},
            watcher::Watcher,
        },
    },
    kernel::netlink::link::Link,
    model::{child::Child, held::AddressTrouble, master::Master, members::Members},
};

/// The data paths as they were last seen.
#[derive(Default)]
pub struct DatapathWatch {
    /// By index of the master: what was seen of its data path, if there was one.
    seen: BTreeMap<u32, Option<Seen>>,
}

struct Seen {
    members: Members,
    trouble: AddressTrouble,
}

impl DatapathWatch {
    /// Looks at these masters; gives what is different: data paths put on and taken off, host access,
    /// MACs that are elsewhere, and trouble with addresses. Of a master that is looked at for the first time nothing is.
    pub async fn look(&mut self, watcher: &Watcher, masters: &[Link]) -> Vec<Change> {
        self.seen.retain(|index, _| masters.iter().any(|link| link.index == *index));
        let mut changes = Vec::new();
        for link in masters {
            let Ok(master) = master_of_link(watcher.netlink(), link.clone()).await else { continue };
            let now = see(watcher, &master).await;
            let about = |what| Change { what, subject: Subject::Device(Box::new(link.clone())) };
            match (self.seen.get(&link.index), &now) {
                (Some(None), Some(_)) => changes.push(about(What::Attached)),
                (Some(Some(_)), None) => changes.push(about(What::Detached)),
                (Some(Some(before)), Some(now)) => {
                    let children = as_held(link.index, &watcher.children(link.index));
                    let children: Vec<&Child> = children.iter().collect();
                    changes.extend(tell::differing(&master, (&before.members, &now.members), &children));
                    changes.extend(tell::address_trouble(link, (&before.trouble, &now.trouble), &children));
                }
                (None, _) | (Some(None), None) => {}
            }
            self.seen.insert(link.index, now);
        }
        changes
    }
}

/// What the data path on a master knows; `None` where there is none that is of use.
async fn see(watcher: &Watcher, master: &Master) -> Option<Seen> {
    if !attached::is_pinned(master) {
        return None;
    }
    match Bpf::find(watcher.netlink(), master).await {
        Found::Whole(bpf) => {
            let trouble = bpf.address_trouble().unwrap_or_default();
            Some(Seen { members: bpf.members().clone(), trouble })
        }
        _ => None,
    }
}
