//! Changing children in place, and back.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::{
    kernel::netlink::{Netlink, ipnet::IpNet, kind::Kind, macvlan::Change, sockets::Sockets},
    model::child::Child,
    plan::planned::PlannedChild,
};

/// What one child is to get.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the device.
    pub change: Change,
    /// Further addresses.
    pub addresses: &'a [IpNet],
    /// Default routes.
    pub gateways: &'a [IpAddr],
}

/// Changes made so far: [`undo`](Self::undo) takes them back.
#[derive(Default)]
pub struct Changed {
    done: Vec<Done>,
    sockets: Sockets,
}

/// One step, and the way back.
struct Done {
    inside: Netlink,
    index: u32,
    back: Back,
}

enum Back {
    Device { kind: Kind, was: Change },
    Address(IpNet),
    Route { set: IpAddr, was: Option<IpAddr> },
}

impl Changed {
    /// Brings every planned child that is there to what is planned, but for taking it down: that
    /// loses routes, which nothing could bring back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. What was done stays, until it is undone.
    pub async fn make_all(&mut self, planned: &[PlannedChild]) -> Result<()> {
        for planned in planned.iter().filter(|planned| !planned.is_kept()) {
            let Some(child) = &planned.existing else { continue };
            let inside = self.sockets.at(&planned.netns)?;
            let change = Change { up: planned.change.up.filter(|up| *up), ..planned.change };
            // Going down would flush the IPv6 ones again (`addrconf_ifdown`).
            let goes_down = planned.change.up == Some(false);
            let addresses = if goes_down { &[] } else { planned.addresses.as_slice() };
            let wanted = Wanted { change, addresses, gateways: &planned.gateways };
            self.make(&inside, child, wanted)
                .await
                .with_context(|| format!("cannot change child {:?}", planned.name))?;
        }
        Ok(())
    }

    /// Changes one child. The socket must be in its namespace.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. What was done stays, until it is undone.
    pub async fn make(&mut self, inside: &Netlink, child: &Child, wanted: Wanted<'_>) -> Result<()> {
        let (index, change) = (child.index, wanted.change);
        let remember = |back| Done { inside: inside.clone(), index, back };
        if !change.is_empty() {
            // First: a refused request may have changed a part.
            self.done.push(remember(Back::Device { kind: child.kind, was: change_back(child, &change) }));
            inside.change_child(index, child.kind, &change).await?;
        }
        for net in wanted.addresses {
            if inside.add_address(index, *net).await? {
                self.done.push(remember(Back::Address(*net)));
            }
        }
        for gateway in wanted.gateways {
            let routes = inside.default_routes().await?;
            let of_family =
                routes.iter().find(|route| route.is_ipv6 == gateway.is_ipv6() && route.index == Some(index));
            let was = of_family.and_then(|route| route.gateway);
            inside.set_default_route(index, *gateway).await?;
            self.done.push(remember(Back::Route { set: *gateway, was }));
        }
        Ok(())
    }

    /// Takes everything back, as far as the kernel lets us, the last first.
    pub async fn undo(self) {
        for Done { inside, index, back } in self.done.into_iter().rev() {
            // The error that led here is the one to report.
            let _ = match back {
                Back::Device { kind, was } => inside.change_child(index, kind, &was).await,
                Back::Address(net) => inside.remove_address(index, net).await,
                Back::Route { was: Some(was), .. } => inside.set_default_route(index, was).await,
                Back::Route { set, was: None } => inside.remove_default_route(index, set).await,
            };
        }
    }
}

/// Takes down the planned children that are to be down.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn take_down(planned: &[PlannedChild]) -> Result<()> {
    let mut sockets = Sockets::default();
    for planned in planned.iter().filter(|planned| planned.change.up == Some(false)) {
        let Some(child) = &planned.existing else { continue };
        let down = async {
            let inside = sockets.at(&planned.netns)?;
            let change = Change { up: Some(false), ..Change::default() };
            inside.change_child(child.index, child.kind, &change).await?;
            inside.address_child(child.index, &planned.settings.addresses, &[]).await
        };
        down.await.with_context(|| format!("cannot take down child {:?}", planned.name))?;
    }
    Ok(())
}

fn change_back(child: &Child, change: &Change) -> Change {
    Change {
        mode: change.mode.and(Some(child.mode)),
        mac: change.mac.and(Some(child.mac)),
        mtu: change.mtu.and(Some(child.mtu)),
        bcqueuelen: change.bcqueuelen.and(child.bcqueuelen),
        up: change.up.and(Some(child.up)),
    }
}
