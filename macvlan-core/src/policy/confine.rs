//! What a container cannot shed by making itself another device: what its first one is held to.

use anyhow::Result;
use macvlan_common::child::Policy;

use crate::policy::{change::PolicyChange, groups::Groups, rate::RateLimits};

/// The policy and the rates of a device that is new in a namespace, no wider than those of one that is there.
pub fn confine(new: (Policy, RateLimits), there: (Policy, RateLimits)) -> (Policy, RateLimits) {
    let ((policy, rates), (other, others)) = (new, there);
    let group = if other.group() == 0 { policy.group() } else { other.group() };
    let policy = policy
        .with_host_access(policy.host_access() && other.host_access())
        .with_sibling_access(policy.sibling_access() && other.sibling_access())
        .with_group(group)
        .with_anti_spoof(policy.anti_spoof().max(other.anti_spoof()))
        .with_ra(policy.ra() && other.ra())
        .with_dhcp_server(policy.dhcp_server() && other.dhcp_server())
        .with_host_control(policy.host_control() && other.host_control())
        .with_mac_change(policy.mac_change() && other.mac_change());
    let policy = if rates.is_empty() { policy.with_wire_scope(other.has_wire_scope()) } else { policy };
    (policy, RateLimits { rx: rates.rx.or(others.rx), tx: rates.tx.or(others.tx) })
}

/// The least of what a child may do and of what `setting` would make of that: where its group is not certain, it
/// has no siblings.
///
/// # Errors
///
/// When there are too many groups.
pub fn least(
    (policy, rates): (Policy, RateLimits),
    setting: PolicyChange,
    groups: &mut Groups,
) -> Result<(Policy, RateLimits)> {
    let other = setting.apply(Some(policy), policy.mode(), groups)?;
    let has_siblings = policy.group() == other.group();
    let (least, rates) = confine((policy, rates), (other, setting.apply_rates(rates)));
    Ok((least.with_sibling_access(least.sibling_access() && has_siblings), rates))
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::{AntiSpoof, Mode};

    use super::*;

    #[test]
    fn nothing_is_wider_than_what_is_there() {
        let new = Policy::new(Mode::Bridge, true).with_host_control(true);
        let free = (new, RateLimits::default());
        assert_eq!(confine(free, free), free);
        let held = Policy::new(Mode::Private, false)
            .with_sibling_access(false)
            .with_group(3)
            .with_anti_spoof(AntiSpoof::Ip)
            .with_ra(false)
            .with_dhcp_server(false);
        let limit = "10mbit".parse().ok();
        let limits = RateLimits { rx: limit, tx: None };
        let (policy, rates) = confine(free, (held, limits));
        assert_eq!((policy, rates), (held.with_mode(Mode::Bridge), limits), "the mode is its own");
        let (policy, _) = confine((held, limits), free);
        assert_eq!(policy, held);
    }
}
