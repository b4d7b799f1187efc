//! What the programs learn and other commands set, which no event of the kernel tells: looked at now and then.

use std::collections::BTreeMap;

use crate::{
    datapath::Datapath as _,
    datapath::bpf::attached::{self, Bpf, Found},
    discovery::masters::master_of_link,
    follow::{
        tell,
        watch::{
            change::{Change, Subject, What},
            watcher::Watcher,
        },
    },
    kernel::netlink::link::Link,
    model::{master::Master, members::Members},
};

/// The data paths as they were last seen.
#[derive(Default)]
pub struct DatapathWatch {
    /// By index of the master: whom its data path knew, if there was one.
    seen: BTreeMap<u32, Option<Members>>,
}

impl DatapathWatch {
    /// Looks at these masters; gives what is different: data paths put on and taken off, host access, and
    /// MACs that are elsewhere. Of a master that is looked at for the first time nothing is.
    pub async fn look(&mut self, watcher: &Watcher, masters: &[Link]) -> Vec<Change> {
        self.seen.retain(|index, _| masters.iter().any(|link| link.index == *index));
        let mut changes = Vec::new();
        for link in masters {
            let Ok(master) = master_of_link(watcher.netlink(), link.clone()).await else { continue };
            let now = members(watcher, &master).await;
            let about = |what| Change { what, subject: Subject::Device(Box::new(link.clone())) };
            match (self.seen.get(&link.index), &now) {
                (Some(None), Some(_)) => changes.push(about(What::Attached)),
                (Some(Some(_)), None) => changes.push(about(What::Detached)),
                (Some(Some(before)), Some(now)) => {
                    let children = watcher.children(link.index);
                    changes.extend(tell::differing(&master, (before, now), &children));
                }
                (None, _) | (Some(None), None) => {}
            }
            self.seen.insert(link.index, now);
        }
        changes
    }
}

/// Whom the data path on a master knows; `None` where there is none that is of use.
async fn members(watcher: &Watcher, master: &Master) -> Option<Members> {
    if !attached::is_pinned(master) {
        return None;
    }
    match Bpf::find(watcher.netlink(), master).await {
        Found::Whole(bpf) => Some(bpf.members().clone()),
        _ => None,
    }
}
