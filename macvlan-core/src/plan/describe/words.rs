//! Children and what becomes of them, in words.

use std::fmt;

use macvlan_common::child::{Mode, Policy};

use crate::{
    model::child::Child,
    plan::planned::PlannedChild,
    policy::{change::PolicyChange, groups::Groups, rate::RateLimits},
};

/// What of a policy a new child would not have anyway.
pub fn unusual(asked: PolicyChange) -> Vec<String> {
    asked.differing(Policy::new(Mode::Bridge, true), RateLimits::default(), &Groups::default()).phrases()
}

/// A child by its kind, name and namespace.
pub fn told(child: &Child) -> String {
    format!("{} {}", child.kind.as_str(), child.title())
}

impl fmt::Display for PlannedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.existing {
            Some(existing) if !self.is_kept() => describe_change(self, existing, f),
            Some(_) => describe_whole("keep", self, f),
            None => describe_whole("create", self, f),
        }
    }
}

fn describe_whole(verb: &str, child: &PlannedChild, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let settings = &child.settings;
    write!(f, "{verb} {} {:?} in mode {}", child.kind.as_str(), child.name, child.mode.as_str())?;
    if let Some(netns) = &settings.netns {
        write!(f, " in netns {:?}", netns.to_string())?;
    }
    if let Some(mac) = settings.mac {
        write!(f, ", MAC {mac}")?;
    }
    if let Some(mtu) = settings.mtu {
        write!(f, ", MTU {mtu}")?;
    }
    if let Some(len) = settings.bcqueuelen {
        write!(f, ", bcqueuelen {len}")?;
    }
    settings.addresses.iter().try_for_each(|net| write!(f, ", address {net}"))?;
    settings.gateways.iter().try_for_each(|gateway| write!(f, ", gateway {gateway}"))?;
    unusual(settings.policy).iter().try_for_each(|phrase| write!(f, ", {phrase}"))?;
    if settings.up == Some(false) {
        f.write_str(", down")?;
    }
    Ok(())
}

fn describe_change(planned: &PlannedChild, is: &Child, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let change = &planned.change;
    let mut parts = Vec::new();
    if planned.confirms {
        parts.push("ours, as its alias says".to_owned());
    }
    if let Some(mode) = change.mode {
        parts.push(format!("mode {} to {}", is.mode.as_str(), mode.as_str()));
    }
    if let Some(mac) = change.mac {
        parts.push(format!("MAC {} to {mac}", is.mac));
    }
    if let Some(mtu) = change.mtu {
        parts.push(format!("MTU {} to {mtu}", is.mtu));
    }
    if let Some(len) = change.bcqueuelen {
        let was = is.bcqueuelen.map_or_else(String::new, |was| format!("{was} "));
        parts.push(format!("bcqueuelen {was}to {len}"));
    }
    if let Some(up) = change.up {
        parts.push(if up { "up" } else { "down" }.to_owned());
    }
    parts.extend(planned.addresses.iter().map(|net| format!("address {net}")));
    parts.extend(planned.gateways.iter().map(|gateway| format!("gateway {gateway}")));
    write!(f, "change {}: {}", told(is), parts.join(", "))
}
