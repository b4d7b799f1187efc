//! Where an attachment is: the container's namespace, the master, and sockets to both.

use std::{io, path::Path};

use anyhow::{Context as _, Result};
use macvlan_core::{
    discovery::masters::{find_link, link_of_default_route, master_of_link},
    kernel::{
        lock::Lock,
        marks::{DeviceKey, Mark, Marks},
        netlink::{
            Netlink,
            kind::Kind,
            link::Link,
            macvlan::{NewChild, UNFINISHED_GROUP, passing_name},
        },
        netns::{Netns, NetnsId, NetnsRef},
    },
    model::{attachment::Attachment, master::Master},
};

use crate::{
    config::Config,
    error::{CniError, CniResult, code},
    port,
    request::Target,
};

/// The two namespaces, and the lower device.
pub struct Site {
    /// The container's.
    pub netns: Netns,
    /// A socket there.
    pub inside: Netlink,
    /// A socket where the master is: in the plugin's namespace, or with `linkInContainer` in the
    /// container's.
    pub above: Netlink,
}

/// The container's namespace.
///
/// # Errors
///
/// Code 3 when it is gone, 4 when it is none, or the plugin's own.
pub fn open_netns(path: &Path) -> CniResult<Netns> {
    let invalid = |msg| CniError::new(code::INVALID_ENVIRONMENT, msg);
    let opened = NetnsRef::Path(path.into()).open();
    // Asked afterwards: it may go at any time.
    let netns = opened.map_err(|error| match std::fs::metadata(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
            unknown(format!("network namespace {:?} does not exist", path.display()))
        }
        _ => invalid(format!("CNI_NETNS: {error:#}")),
    })?;
    if netns.id() == Netns::current()?.id() {
        return Err(invalid("CNI_NETNS is the plugin's own network namespace".into()));
    }
    Ok(netns)
}

/// Makes sure that the path leads to the namespace still. One that others have given up lives on while
/// we hold it, and ends with us: nobody would know of what is in it.
///
/// # Errors
///
/// Code 3 when it does not.
pub fn still_there(path: &Path, netns: &Netns) -> CniResult<()> {
    match NetnsId::of_path(path) {
        Some(id) if id == netns.id() => Ok(()),
        _ => Err(unknown(format!("network namespace {:?} is gone", path.display()))),
    }
}

fn unknown(msg: String) -> CniError {
    CniError::new(code::UNKNOWN_CONTAINER, msg)
}

impl Site {
    /// Opens both ends. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the container's namespace cannot be entered.
    pub fn open(config: &Config, netns: Netns) -> CniResult<Self> {
        let inside = netns.visit(Netlink::open)?;
        let above = if config.link_in_container { inside.clone() } else { Netlink::open()? };
        Ok(Self { netns, inside, above })
    }

    /// Sees to it that no device bears this name. The master must be locked: what is unfinished
    /// belongs to nobody then.
    ///
    /// # Errors
    ///
    /// Code 4 when the name is taken.
    pub async fn free(&self, identity: &Attachment, name: &str) -> CniResult<()> {
        for name in [name, &passing_name(name)] {
            match self.inside.link_by_name(name).await? {
                Some(link) if self.is_unfinished(&link).await? => self.delete(&link).await?,
                Some(link) => return Err(taken(&link, identity)),
                None => {}
            }
        }
        Ok(())
    }

    /// Makes the device, up and marked as this attachment's, and gives it as the kernel made it.
    ///
    /// # Errors
    ///
    /// Code 100 when the kernel refuses. Nothing is left then.
    pub async fn make(
        &self,
        config: &Config,
        master: &Link,
        identity: &Attachment,
        name: &str,
    ) -> CniResult<Link> {
        if config.kind == Kind::Port {
            return port::make(&self.above, (&self.inside, &self.netns), config, master, identity, name)
                .await;
        }
        // So that other commands find the child, whoever holds the namespace.
        let nsid = match config.link_in_container {
            true => None,
            false => self.above.assign_nsid(&self.netns).await?,
        };
        let new = NewChild {
            master: master.index,
            name,
            kind: Kind::Macvlan,
            mode: config.mode,
            mac: config.mac,
            mtu: config.mtu,
            bcqueuelen: config.bcqueuelen,
        };
        let link =
            self.above.create_child(&new, &self.netns, &self.inside).await.map_err(|error| {
                error.context(format!("cannot make macvlan {name:?} on {:?}", master.name))
            })?;
        let finished = async {
            // Before anybody takes it for finished.
            self.mark(nsid, master.index, &link, identity)?;
            self.inside.finish_child(link.index, &identity.to_string(), true).await
        };
        if let Err(error) = finished.await {
            // The error that led here is the one to report.
            let _ = self.inside.delete_link(link.index, None).await;
            let _ = Marks::open().and_then(|marks| marks.remove((nsid, link.index)));
            return Err(error.context(format!("cannot bring up {name:?}")).into());
        }
        Ok(link)
    }

    /// Deletes a device of an attachment, with all that belongs to it.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub async fn delete(&self, link: &Link) -> Result<()> {
        match port::number(link) {
            0 => self.inside.delete_link(link.index, None).await,
            number => port::delete(&self.above, number).await,
        }
    }

    /// Index of the master of an attachment's device.
    ///
    /// # Errors
    ///
    /// The devices of a port cannot be asked for.
    pub async fn lower_of(&self, link: &Link) -> Result<u32> {
        let macvlan = port::macvlan_of(&self.above, link).await?;
        Ok(macvlan.as_ref().unwrap_or(link).lower.unwrap_or_default())
    }

    async fn is_unfinished(&self, link: &Link) -> Result<bool> {
        let macvlan = port::macvlan_of(&self.above, link).await?;
        Ok(is_unfinished(macvlan.as_ref().unwrap_or(link)))
    }

    fn mark(&self, nsid: Option<i32>, master: u32, link: &Link, identity: &Attachment) -> Result<()> {
        if nsid.is_none() {
            return Ok(());
        }
        let namespace = self.netns.visit(Netns::current_tag).ok();
        let mac = link.mac.context("the device has no MAC")?;
        Marks::open()?.set((nsid, link.index), &Mark { namespace, master, mac, maker: identity.to_string() })
    }

    /// The key of the mark of a device, and what that says; `None` where it has none: in the container of its master,
    /// or where an earlier version made it.
    pub async fn mark_of(&self, link: &Link) -> Option<(DeviceKey, Mark)> {
        let key = (Some(self.above.nsid_of(&self.netns).await.ok()??), link.index);
        let mark = Marks::open().ok()?.of(key)?;
        let namespace = self.netns.visit(Netns::current_tag).ok();
        mark.is_of(link.mac?, namespace.as_deref()).then_some((key, mark))
    }

    /// The device of this attachment; `None` when there is none, or the device of that name is
    /// somebody else's. With `unfinished`, also one that a killed ADD left half made.
    ///
    /// # Errors
    ///
    /// The container's namespace is gone.
    pub async fn find(
        &self,
        identity: &Attachment,
        target: &Target,
        unfinished: bool,
    ) -> CniResult<Option<Link>> {
        let name = target.ifname.as_str();
        let link = self.inside.link_by_name(name).await?;
        if let Some(link) = link {
            let mark = self.mark_of(&link).await.filter(|_| link.is_child());
            if let Some(macvlan) = port::macvlan_of(&self.above, &link).await? {
                let is_ours = port::is_of(&macvlan, identity);
                return Ok(is_ours.then_some(Link { mode: macvlan.mode, ..link }));
            }
            let is_marked = mark.is_some_and(|(_, mark)| mark.maker == identity.to_string());
            // In its own namespace a container may only say this of its own device.
            let is_ours = is_marked || identity_of(&link).as_ref() == Some(identity);
            if is_ours || (unfinished && is_unfinished(&link)) {
                return Ok(Some(link));
            }
        }
        let passing = if unfinished { self.inside.link_by_name(&passing_name(name)).await? } else { None };
        Ok(passing.filter(is_unfinished))
    }
}

/// Takes this mark off a device that is gone; the number of that may be another one's by now.
///
/// # Errors
///
/// It cannot be removed.
pub fn unmark(key: DeviceKey, mark: &Mark) -> Result<()> {
    let marks = Marks::open()?;
    if marks.of(key).as_ref() == Some(mark) { marks.remove(key) } else { Ok(()) }
}

/// Whose a device is, of those that orchestrators asked for.
pub fn identity_of(link: &Link) -> Option<Attachment> {
    link.alias.as_deref().and_then(Attachment::of_alias).filter(|_| link.is_child())
}

fn is_unfinished(link: &Link) -> bool {
    link.is_child() && link.group == UNFINISHED_GROUP && link.alias.is_none() && !link.up
}

fn taken(link: &Link, identity: &Attachment) -> CniError {
    let msg = match identity_of(link) {
        Some(owner) if owner == *identity => {
            format!("{:?} is attached already: there was an ADD without a DEL", link.name)
        }
        _ => format!("a device named {:?} is in the container already", link.name),
    };
    CniError::new(code::INVALID_ENVIRONMENT, msg)
}

/// The lower device: the configured one, or that of the default route. It may be down.
///
/// # Errors
///
/// Code 7 when there is none, or it cannot be one.
pub async fn master(above: &Netlink, config: &Config) -> CniResult<Link> {
    let invalid = |msg| CniError::new(code::INVALID_CONFIG, msg);
    let link = match &config.master {
        Some(name) => {
            let found = find_link(above, name).await?;
            found.ok_or_else(|| match name.is_default_route() {
                true => invalid(format!("master {name:?}: there is no default route")),
                false => invalid(format!("master {name:?} does not exist")),
            })?
        }
        None => link_of_default_route(above).await?.ok_or_else(|| {
            invalid("the network names no master, and there is no default route to take it from".into())
        })?,
    };
    if let Some(mtu) = config.mtu.filter(|mtu| *mtu > link.mtu) {
        return Err(invalid(format!("mtu {mtu} is above the {} of master {:?}", link.mtu, link.name)));
    }
    Ok(link)
}

/// The master as the library knows it, and the lock that keeps other commands from it: not of one
/// that a container has, where nobody else is at work.
///
/// # Errors
///
/// Code 7 when it cannot be a master, 11 when another command does not let go of it.
pub async fn lock(above: &Netlink, config: &Config, link: &Link) -> CniResult<Option<(Master, Lock)>> {
    if config.link_in_container {
        return Ok(None);
    }
    let master = master_of_link(above, link.clone())
        .await
        .map_err(|error| CniError::new(code::INVALID_CONFIG, format!("master {:?}: {error:#}", link.name)))?;
    let lock = Lock::take(&master.key, &master.name)
        .await
        .map_err(|error| CniError::new(code::TRY_AGAIN, format!("{error:#}")))?;
    Ok(Some((master, lock)))
}
