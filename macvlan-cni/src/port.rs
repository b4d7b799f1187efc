//! Attachments whose device is a port: its macvlan and its host end are where the master is, and root alone names them.

use anyhow::{Context as _, Result};
use macvlan_common::port::{Half, index_of, other_half, port_of};
use macvlan_core::{
    apply::create_port::{NewPort, PortPrograms, make_port},
    kernel::{
        netlink::{
            Netlink,
            link::{Link, ListOptions},
            macvlan::NewChild,
        },
        netns::Netns,
    },
    model::{attachment::Attachment, port::Port},
};

use crate::{
    config::Config,
    error::{CniError, CniResult, code},
};

/// Makes the port of an attachment in the container's namespace, where `inside` is, up; gives the end that the container
/// has. `own` is where the master is.
///
/// # Errors
///
/// Code 50 where the kernel takes no programs, 100 when it refuses a device. Nothing is left then.
pub async fn make(
    own: &Netlink,
    (inside, netns): (&Netlink, &Netns),
    config: &Config,
    master: &Link,
    identity: &Attachment,
    name: &str,
) -> CniResult<Link> {
    let mut programs =
        PortPrograms::load().map_err(|error| CniError::new(code::NOT_AVAILABLE, format!("{error:#}")))?;
    let device = NewChild {
        master: master.index,
        name,
        kind: config.kind,
        mode: config.mode,
        mac: config.mac,
        mtu: config.mtu,
        bcqueuelen: config.bcqueuelen,
    };
    let maker = identity.to_string();
    let port = NewPort { own, inside, netns, device, maker: &maker, up: true };
    let mut made = Vec::new();
    let end = make_port(&port, &mut programs, |index| made.push(index)).await;
    if end.is_err() && !made.is_empty() {
        // The error that led here is the one to report.
        let _ = own.delete_links(&made).await;
    }
    Ok(end.with_context(|| format!("cannot make port {name:?} on {:?}", master.name))?)
}

/// The number of the port that a link is a device of, on whichever side; 0 where it is of none.
pub fn number(link: &Link) -> u32 {
    let is_end = link.kind.as_deref() == Some("veth");
    let index = if is_end { link.lower.unwrap_or_default() } else { link.index };
    port_of(index).map_or(0, |(number, _)| number)
}

/// The macvlan of the port whose end a device of a container is; `None` where it is no port.
///
/// # Errors
///
/// The devices beside the master cannot be asked for.
pub async fn macvlan_of(own: &Netlink, link: &Link) -> Result<Option<Link>> {
    let host_end = link.lower.filter(|_| link.kind.as_deref() == Some("veth"));
    let Some(host_end) =
        host_end.filter(|index| port_of(*index).is_some_and(|(_, half)| half == Half::HostEnd))
    else {
        return Ok(None);
    };
    let found = own.link_by_index(other_half(host_end), None).await?;
    Ok(found.filter(|link| Port::of_macvlan(link).is_some()))
}

/// Whether a macvlan of a port is this attachment's: in its namespace root alone writes aliases.
pub fn is_of(macvlan: &Link, identity: &Attachment) -> bool {
    macvlan.alias.as_deref().and_then(Attachment::of_alias).as_ref() == Some(identity)
}

/// The macvlan of the port of an attachment.
///
/// # Errors
///
/// The devices beside the master cannot be listed.
pub async fn find(own: &Netlink, identity: &Attachment) -> Result<Option<Link>> {
    let is_it = |link: &Link| Port::of_macvlan(link).is_some() && is_of(link, identity);
    Ok(own.links(ListOptions::default()).await?.into_iter().find(is_it))
}

/// Deletes the devices of a port.
///
/// # Errors
///
/// The kernel refuses it; that they are gone already is no error.
pub async fn delete(own: &Netlink, number: u32) -> Result<()> {
    own.delete_links(&[index_of(number, Half::Macvlan), index_of(number, Half::HostEnd)]).await
}
