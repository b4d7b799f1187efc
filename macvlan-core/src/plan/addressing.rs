//! Which of the addresses and default routes asked for a child lacks.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use anyhow::{Result, bail};

use crate::{
    kernel::{
        netlink::{address::DefaultRoute, ipnet::IpNet, sockets::Sockets},
        netns::NetnsId,
    },
    model::child::Child,
    plan::{
        checks::NOT_OURS,
        planned::{Differing, PlannedChild},
    },
};

/// Looks into each namespace once.
#[derive(Debug)]
pub struct Addressing {
    differing: Differing,
    seen: HashMap<NetnsId, Inside>,
}

/// What a namespace holds.
#[derive(Debug)]
struct Inside {
    addresses: BTreeMap<u32, Vec<IpNet>>,
    routes: Vec<DefaultRoute>,
}

impl Addressing {
    /// One that has looked nowhere yet.
    pub fn new(differing: Differing) -> Self {
        Self { differing, seen: HashMap::new() }
    }

    /// Takes from `planned` the addresses and gateways that the child has already.
    ///
    /// # Errors
    ///
    /// An address or route asked for is not possible, or the namespace is gone.
    pub async fn narrow(&mut self, planned: &mut PlannedChild, sockets: &mut Sockets) -> Result<()> {
        if planned.addresses.is_empty() && planned.gateways.is_empty() {
            return Ok(());
        }
        let inside = self.look(planned, sockets).await?;
        let index = planned.existing.as_ref().map(|child| child.index);
        if let Some(index) = index {
            let present = inside.addresses.get(&index).map_or(&[][..], Vec::as_slice);
            planned.addresses.retain(|net| !present.contains(net));
            check_prefixes(&planned.addresses, present)?;
            let is_set =
                |route: &DefaultRoute, gateway| route.index == Some(index) && route.gateway == Some(gateway);
            planned.gateways.retain(|gateway| !inside.routes.iter().any(|route| is_set(route, *gateway)));
        }
        // `attach` takes the default route over, with a person looking on; a file must not.
        if self.differing == Differing::Change {
            check_routes(planned, &self.look(planned, sockets).await?.routes)?;
        }
        match &planned.existing {
            Some(child) => check_child(child, planned),
            None => Ok(()),
        }
    }

    async fn look(&mut self, planned: &PlannedChild, sockets: &mut Sockets) -> Result<&Inside> {
        match self.seen.entry(planned.netns.id()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let inside = sockets.at(&planned.netns)?;
                let addresses = inside.addresses(None).await?;
                Ok(entry.insert(Inside { addresses, routes: inside.default_routes().await? }))
            }
        }
    }
}

/// IPv6 has an address once, whatever its prefix (`ipv6_add_addr`).
fn check_prefixes(missing: &[IpNet], present: &[IpNet]) -> Result<()> {
    for net in missing.iter().filter(|net| net.address.is_ipv6()) {
        if let Some(is) = present.iter().find(|is| is.address == net.address) {
            bail!("it has {is}, not {net}; remove that first: ip addr del");
        }
    }
    Ok(())
}

fn check_routes(planned: &PlannedChild, routes: &[DefaultRoute]) -> Result<()> {
    let index = planned.existing.as_ref().map(|child| child.index);
    for gateway in &planned.gateways {
        let of_others = |route: &&DefaultRoute| {
            route.is_ipv6 == gateway.is_ipv6() && (route.index.is_none() || route.index != index)
        };
        if routes.iter().any(|route| of_others(&route)) {
            bail!(
                "its network namespace has a default route through another device, which gateway {gateway} \
                 would replace; leave gw out, or remove that route"
            );
        }
    }
    Ok(())
}

fn check_child(child: &Child, planned: &PlannedChild) -> Result<()> {
    let lacks = !planned.addresses.is_empty() || !planned.gateways.is_empty();
    if lacks && !child.owned {
        bail!("it lacks an address or gateway, and {NOT_OURS}");
    }
    if !planned.gateways.is_empty() && !planned.change.up.unwrap_or(child.up) {
        bail!("it is down and can have no gateway; bring it up, or ask for it to be up");
    }
    Ok(())
}
