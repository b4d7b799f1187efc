//! Namespace ids: the numbers by which one namespace knows others.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use crate::kernel::{netlink::Netlink, netns::Netns};

impl Netlink {
    /// Ids of every namespace that this one has numbered.
    ///
    /// # Errors
    ///
    /// Netlink does not list the ids.
    pub async fn nsids(&self) -> Result<Vec<i32>> {
        let objects = self.dump(RouteNetlinkMessage::GetNsId(NsidMessage::default())).await;
        let objects = objects.context("cannot list namespace ids")?;
        Ok(objects.into_iter().filter_map(assigned).collect())
    }

    /// What the namespace with this id calls others: their ids there, and here. Ask over a strict socket: on another one
    /// the kernel takes this for [`nsids`](Self::nsids) (`rtnl_net_dumpid` in net/core/net_namespace.c).
    ///
    /// # Errors
    ///
    /// The namespace is gone, or `CAP_NET_ADMIN` in it is missing.
    pub async fn nsids_of(&self, nsid: i32) -> Result<BTreeMap<i32, i32>> {
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::TargetNsid(nsid));
        let objects = self.dump(RouteNetlinkMessage::GetNsId(message)).await;
        let objects = objects.with_context(|| format!("cannot list the namespace ids of nsid {nsid}"))?;
        let both = |object: RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewNsId(message) = &object else { return None };
            let here = message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::CurrentNsid(id) if *id >= 0 => Some(*id),
                _ => None,
            })?;
            Some((assigned(object)?, here))
        };
        Ok(objects.into_iter().filter_map(both).collect())
    }

    /// The id of a namespace; `None` when it has none yet.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub async fn nsid_of(&self, netns: &Netns) -> Result<Option<i32>> {
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(descriptor(netns)));
        let answer = self.get(RouteNetlinkMessage::GetNsId(message)).await;
        Ok(answer.context("cannot ask for a namespace id")?.and_then(assigned))
    }

    /// The id of a namespace, given one now if it has none, as `ip netns set` does.
    ///
    /// # Errors
    ///
    /// The namespace is gone, or may not be numbered.
    pub async fn assign_nsid(&self, netns: &Netns) -> Result<Option<i32>> {
        if let Some(id) = self.nsid_of(netns).await? {
            return Ok(Some(id));
        }
        const ANY: i32 = -1;
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(descriptor(netns)));
        message.attributes.push(NsidAttribute::Id(ANY));
        let answer = self.change(RouteNetlinkMessage::NewNsId(message), 0).await;
        answer.context("cannot give a namespace an id")?;
        self.nsid_of(netns).await
    }
}

/// The id in an answer; negative means "none" (`NETNSA_NSID_NOT_ASSIGNED`).
fn assigned(object: RouteNetlinkMessage) -> Option<i32> {
    let RouteNetlinkMessage::NewNsId(message) = object else { return None };
    message.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) if *id >= 0 => Some(*id),
        _ => None,
    })
}

fn descriptor(netns: &Netns) -> u32 {
    netns.as_fd().as_raw_fd().unsigned_abs()
}
