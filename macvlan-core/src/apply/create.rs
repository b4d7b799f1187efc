//! Making planned children, all or none.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use crate::{
    discovery::locked_master::LockedMaster,
    kernel::{
        netlink::{
            Netlink,
            macvlan::{NewChild, OWNER_ALIAS},
            sockets::Sockets,
        },
        netns::NetnsId,
    },
    plan::planned::{PlannedChild, Target},
};

/// Children made so far: [`undo`](Self::undo) removes them again.
#[derive(Default)]
pub struct Created {
    sockets: Sockets,
    made: HashMap<NetnsId, (Netlink, Vec<u32>)>,
}

impl Created {
    /// Makes every planned child that is not there, and gives each its addresses.
    ///
    /// # Errors
    ///
    /// When one cannot be made; those made before are removed.
    pub async fn make(locked: &LockedMaster, planned: &[PlannedChild]) -> Result<Self> {
        let mut created = Self::default();
        for child in planned.iter().filter(|child| child.existing.is_none()) {
            if let Err(error) = created.make_one(locked, child).await {
                created.undo().await;
                return Err(error).with_context(|| format!("cannot add child {:?}", child.name));
            }
        }
        Ok(created)
    }

    async fn make_one(&mut self, locked: &LockedMaster, child: &PlannedChild) -> Result<()> {
        if child.target != Target::Own {
            // So that it is found again, whoever holds the namespace.
            locked.netlink.assign_nsid(&child.netns).await?;
        }
        let socket = self.sockets.at(&child.netns)?;
        let index = self.create(locked, child, &socket).await?;
        socket.finish_child(index, OWNER_ALIAS, child.settings.up.unwrap_or(true)).await?;
        socket.address_child(index, &child.addresses, &child.gateways).await
    }

    async fn create(&mut self, locked: &LockedMaster, child: &PlannedChild, socket: &Netlink) -> Result<u32> {
        let new = NewChild {
            master: locked.master.index,
            name: &child.name,
            kind: child.kind,
            mode: child.mode,
            mac: child.settings.mac,
            mtu: child.settings.mtu,
            bcqueuelen: child.settings.bcqueuelen,
        };
        let link = locked.netlink.create_child(&new, &child.netns, socket).await?;
        let made = self.made.entry(child.netns.id());
        made.or_insert_with(|| (socket.clone(), Vec::new())).1.push(link.index);
        Ok(link.index)
    }

    /// Removes what was made, as far as the kernel lets us.
    pub async fn undo(self) {
        for (socket, indexes) in self.made.values() {
            // The error that led here is the one to report.
            let _ = socket.delete_links(indexes).await;
        }
    }
}
