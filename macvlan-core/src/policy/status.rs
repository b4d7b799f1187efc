//! What a child may do, as it is shown.

use macvlan_common::child::Policy;
use serde::Serialize;

use crate::policy::{
    change::{Reflection, scope_of},
    groups::Groups,
    rate::{RateLimit, RateLimits},
};

/// A child's policy, as `status -j` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// Whether siblings may talk to it, as far as modes and groups let them.
    pub sibling_access: bool,
    /// The group it is in.
    pub group: Option<String>,
    /// How far it is held to its addresses.
    pub anti_spoof: &'static str,
    /// Who reflects its frames in VEPA mode.
    pub vepa_reflect: &'static str,
    /// Whether it may send router advertisements and redirects.
    pub ra: bool,
    /// Whether it may be a DHCP server.
    pub dhcp_server: bool,
    /// Whether its control frames reach the host too.
    pub host_control: bool,
    /// Whether the MAC that it is held to may change from inside.
    pub mac_change: bool,
    /// How much it may receive; `None` is no limit.
    pub rate_rx: Option<RateLimit>,
    /// How much it may send; `None` is no limit.
    pub rate_tx: Option<RateLimit>,
    /// Which frames the rates are for.
    pub rate_scope: &'static str,
}

impl Default for PolicyStatus {
    fn default() -> Self {
        Self::of(Policy::default(), RateLimits::default(), &Groups::default())
    }
}

impl PolicyStatus {
    /// What is told of a child with this policy and these rates.
    pub fn of(policy: Policy, rates: RateLimits, groups: &Groups) -> Self {
        let reflection = if policy.reflection() { Reflection::Local } else { Reflection::Switch };
        Self {
            sibling_access: policy.sibling_access(),
            group: groups.name_of(policy.group()).map(|name| name.to_string()),
            anti_spoof: policy.anti_spoof().as_str(),
            vepa_reflect: reflection.as_str(),
            rate_rx: rates.rx,
            rate_tx: rates.tx,
            rate_scope: scope_of(policy).as_str(),
            ra: policy.ra(),
            dhcp_server: policy.dhcp_server(),
            host_control: policy.host_control(),
            mac_change: policy.mac_change(),
        }
    }

    /// What differs from a child of which nothing was said, in words.
    pub fn phrases(&self) -> Vec<String> {
        let usual = Self::default();
        [
            (!self.sibling_access).then(|| "sibling access off".to_owned()),
            self.group.as_ref().map(|name| format!("group {name}")),
            (self.anti_spoof != usual.anti_spoof).then(|| format!("anti-spoof {}", self.anti_spoof)),
            (self.vepa_reflect != usual.vepa_reflect).then(|| format!("vepa-reflect {}", self.vepa_reflect)),
            self.rate_rx.map(|rate| format!("rate-rx {rate}")),
            self.rate_tx.map(|rate| format!("rate-tx {rate}")),
            (self.rate_scope != usual.rate_scope).then(|| format!("rate-scope {}", self.rate_scope)),
            (!self.ra).then(|| "ra off".to_owned()),
            (!self.dhcp_server).then(|| "dhcp-server off".to_owned()),
            self.host_control.then(|| "host-control on".to_owned()),
            self.mac_change.then(|| "mac-change on".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
