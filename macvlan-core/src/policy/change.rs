//! What is asked for of what a child may do.

use anyhow::{Context, Result, anyhow, bail};
use macvlan_common::{
    child::{ANTI_SPOOFS, AntiSpoof, Mode, Policy},
    group::GroupName,
};

use crate::policy::{
    groups::Groups,
    rate::{RateLimit, RateLimits, RateScope},
};

/// Who sends the frames of a VEPA child back to its siblings and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reflection {
    /// The switch behind the master, as in IEEE 802.1Qbg.
    Switch,
    /// The data path.
    Local,
}

impl Reflection {
    /// Its name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Local => "local",
        }
    }
}

/// What is to be set for a child; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyChange {
    /// Whether it may talk to the host.
    pub host_access: Option<bool>,
    /// Whether it may talk to siblings, as far as modes and groups let it.
    pub sibling_access: Option<bool>,
    /// The only siblings it may talk to; `Some(None)` takes it out of its group.
    pub group: Option<Option<GroupName>>,
    /// How far it is held to its addresses.
    pub anti_spoof: Option<AntiSpoof>,
    /// Who reflects its frames in VEPA mode.
    pub vepa_reflect: Option<Reflection>,
    /// How much it may receive; `Some(None)` takes the limit off.
    pub rate_rx: Option<Option<RateLimit>>,
    /// How much it may send, likewise.
    pub rate_tx: Option<Option<RateLimit>>,
    /// Which frames the rates are for.
    pub rate_scope: Option<RateScope>,
    /// Whether it may send router advertisements and redirects.
    pub ra: Option<bool>,
    /// Whether it may be a DHCP server.
    pub dhcp_server: Option<bool>,
    /// Whether its control frames reach the host too.
    pub host_control: Option<bool>,
    /// Whether the MAC that it is held to may change from inside.
    pub mac_change: Option<bool>,
    /// Somebody names this very child: then it is one even in the master's own namespace.
    pub named: bool,
    /// Somebody asks for the mode that its device has: until then it has the mode that it began with.
    pub takes_mode: bool,
}

impl PolicyChange {
    /// Sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What this sets, and what `other` sets besides.
    pub fn or(self, other: Self) -> Self {
        Self {
            host_access: self.host_access.or(other.host_access),
            sibling_access: self.sibling_access.or(other.sibling_access),
            group: self.group.or(other.group),
            anti_spoof: self.anti_spoof.or(other.anti_spoof),
            vepa_reflect: self.vepa_reflect.or(other.vepa_reflect),
            rate_rx: self.rate_rx.or(other.rate_rx),
            rate_tx: self.rate_tx.or(other.rate_tx),
            rate_scope: self.rate_scope.or(other.rate_scope),
            ra: self.ra.or(other.ra),
            dhcp_server: self.dhcp_server.or(other.dhcp_server),
            host_control: self.host_control.or(other.host_control),
            mac_change: self.mac_change.or(other.mac_change),
            named: self.named || other.named,
            takes_mode: self.takes_mode || other.takes_mode,
        }
    }

    /// Whether this needs a program on the child's own device.
    pub fn wants_program(&self) -> bool {
        let is_held = self.anti_spoof.is_some_and(|degree| degree != AntiSpoof::Off);
        is_held || self.ra == Some(false) || self.dhcp_server == Some(false)
    }

    /// What this sets, but for what `other` sets as well.
    pub fn without(self, other: &Self) -> Self {
        fn unless<T, U>(own: Option<T>, other: &Option<U>) -> Option<T> {
            own.filter(|_| other.is_none())
        }
        Self {
            host_access: unless(self.host_access, &other.host_access),
            sibling_access: unless(self.sibling_access, &other.sibling_access),
            group: unless(self.group, &other.group),
            anti_spoof: unless(self.anti_spoof, &other.anti_spoof),
            vepa_reflect: unless(self.vepa_reflect, &other.vepa_reflect),
            rate_rx: unless(self.rate_rx, &other.rate_rx),
            rate_tx: unless(self.rate_tx, &other.rate_tx),
            rate_scope: unless(self.rate_scope, &other.rate_scope),
            ra: unless(self.ra, &other.ra),
            dhcp_server: unless(self.dhcp_server, &other.dhcp_server),
            host_control: unless(self.host_control, &other.host_control),
            mac_change: unless(self.mac_change, &other.mac_change),
            named: self.named,
            takes_mode: self.takes_mode,
        }
    }

    /// Everything as it is in `policy`, with these rates.
    pub fn of(policy: Policy, rates: RateLimits, groups: &Groups) -> Self {
        let reflection = if policy.reflection() { Reflection::Local } else { Reflection::Switch };
        Self {
            host_access: Some(policy.host_access()),
            sibling_access: Some(policy.sibling_access()),
            group: Some(groups.name_of(policy.group())),
            anti_spoof: Some(policy.anti_spoof()),
            vepa_reflect: Some(reflection),
            rate_rx: Some(rates.rx),
            rate_tx: Some(rates.tx),
            rate_scope: Some(scope_of(policy)),
            ra: Some(policy.ra()),
            dhcp_server: Some(policy.dhcp_server()),
            host_control: Some(policy.host_control()),
            mac_change: Some(policy.mac_change()),
            named: policy.is_named(),
            takes_mode: false,
        }
    }

    /// The policy of a child in this mode that had `present`; groups that are new get numbers.
    ///
    /// # Errors
    ///
    /// When there are too many groups.
    pub fn apply(&self, present: Option<Policy>, mode: Mode, groups: &mut Groups) -> Result<Policy> {
        let mut policy = present.unwrap_or(Policy::new(mode, true)).with_mode(mode);
        policy = policy.with_named(self.named || policy.is_named());
        if let Some(on) = self.host_access {
            policy = policy.with_host_access(on);
        }
        if let Some(on) = self.sibling_access {
            policy = policy.with_sibling_access(on);
        }
        if let Some(group) = self.group {
            policy = policy.with_group(group.map_or(Ok(0), |name| groups.number_of(name))?);
        }
        if let Some(degree) = self.anti_spoof {
            policy = policy.with_anti_spoof(degree);
        }
        if let Some(reflection) = self.vepa_reflect {
            policy = policy.with_reflection(reflection == Reflection::Local);
        }
        if let Some(scope) = self.rate_scope {
            policy = policy.with_wire_scope(scope == RateScope::Wire);
        }
        if let Some(on) = self.ra {
            policy = policy.with_ra(on);
        }
        if let Some(on) = self.dhcp_server {
            policy = policy.with_dhcp_server(on);
        }
        if let Some(on) = self.host_control {
            policy = policy.with_host_control(on);
        }
        if let Some(on) = self.mac_change {
            policy = policy.with_mac_change(on);
        }
        Ok(policy)
    }

    /// The rates of a child that had `present`. Its policy is to say whether it has any:
    /// [`Policy::with_limit`].
    pub fn apply_rates(&self, present: RateLimits) -> RateLimits {
        RateLimits { rx: self.rate_rx.unwrap_or(present.rx), tx: self.rate_tx.unwrap_or(present.tx) }
    }

    /// What of this is not so in `policy` with these rates.
    pub fn differing(self, policy: Policy, rates: RateLimits, groups: &Groups) -> Self {
        let is = Self::of(policy, rates, groups);
        Self {
            host_access: self.host_access.filter(|on| Some(*on) != is.host_access),
            sibling_access: self.sibling_access.filter(|on| Some(*on) != is.sibling_access),
            group: self.group.filter(|group| Some(*group) != is.group),
            anti_spoof: self.anti_spoof.filter(|degree| Some(*degree) != is.anti_spoof),
            vepa_reflect: self.vepa_reflect.filter(|by| Some(*by) != is.vepa_reflect),
            rate_rx: self.rate_rx.filter(|rate| *rate != rates.rx),
            rate_tx: self.rate_tx.filter(|rate| *rate != rates.tx),
            rate_scope: self.rate_scope.filter(|scope| Some(*scope) != is.rate_scope),
            ra: self.ra.filter(|on| Some(*on) != is.ra),
            dhcp_server: self.dhcp_server.filter(|on| Some(*on) != is.dhcp_server),
            host_control: self.host_control.filter(|on| Some(*on) != is.host_control),
            mac_change: self.mac_change.filter(|on| Some(*on) != is.mac_change),
            named: self.named && policy.is_hosts(),
            takes_mode: false,
        }
    }

    /// Each setting in words: "host access off", "group \"blue\"".
    pub fn phrases(&self) -> Vec<String> {
        let word = |on| if on { "on" } else { "off" };
        let group = self.group.map(|group| match group {
            Some(name) => format!("group {name:?}"),
            None => "no group".to_owned(),
        });
        [
            self.host_access.map(|on| format!("host access {}", word(on))),
            self.sibling_access.map(|on| format!("sibling access {}", word(on))),
            group,
            self.anti_spoof.map(|degree| format!("anti-spoof {}", degree.as_str())),
            self.vepa_reflect.map(|by| format!("vepa-reflect {}", by.as_str())),
            self.rate_rx.map(|rate| format!("rate-rx {}", rate_word(rate))),
            self.rate_tx.map(|rate| format!("rate-tx {}", rate_word(rate))),
            self.rate_scope.map(|scope| format!("rate-scope {}", scope.as_str())),
            self.ra.map(|on| format!("ra {}", word(on))),
            self.dhcp_server.map(|on| format!("dhcp-server {}", word(on))),
            self.host_control.map(|on| format!("host-control {}", word(on))),
            self.mac_change.map(|on| format!("mac-change {}", word(on))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub(crate) fn scope_of(policy: Policy) -> RateScope {
    if policy.has_wire_scope() { RateScope::Wire } else { RateScope::All }
}

fn rate_word(rate: Option<RateLimit>) -> String {
    rate.map_or_else(|| "off".to_owned(), |rate| rate.to_string())
}

/// The group of this name; "none" is none.
///
/// # Errors
///
/// When no group can have the name.
pub fn parse_group(text: &str) -> Result<Option<GroupName>> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| anyhow!("bad group {text:?}: {error}"))
}

/// The group of this name, which is to be a group's.
///
/// # Errors
///
/// When no group can have the name.
pub fn parse_new_group(text: &str) -> Result<GroupName> {
    parse_group(text)?.with_context(|| format!("no group can have the name {text:?}"))
}

/// The degree that [`AntiSpoof::as_str`] names.
///
/// # Errors
///
/// When it is none.
pub fn parse_anti_spoof(text: &str) -> Result<AntiSpoof> {
    let found = ANTI_SPOOFS.into_iter().find(|degree| degree.as_str() == text);
    found.with_context(|| format!("unknown anti-spoof {text:?}: off, mac or ip"))
}

/// The reflection that [`Reflection::as_str`] names.
///
/// # Errors
///
/// When it is neither.
pub fn parse_reflection(text: &str) -> Result<Reflection> {
    match text {
        "switch" => Ok(Reflection::Switch),
        "local" => Ok(Reflection::Local),
        _ => bail!("unknown vepa-reflect {text:?}: switch or local"),
    }
}

#[cfg(test)]
mod tests {
    use macvlan_common::group::MOST_GROUPS;

    use super::*;
    use crate::policy::status::PolicyStatus;

    fn group(text: &str) -> GroupName {
        text.parse().unwrap()
    }

    #[test]
    fn a_group_keeps_its_number_and_a_free_number_is_used_again() {
        let mut groups = Groups::default();
        let numbers = ["a", "b", "a", "c"].map(|name| groups.number_of(group(name)).unwrap());
        assert_eq!(numbers, [1, 2, 1, 3]);
        let left = [Policy::new(Mode::Bridge, true).with_group(3), Policy::default()];
        let mut groups = groups.used_by(left.iter());
        assert_eq!(groups.iter().collect::<Vec<_>>(), [(3, group("c"))]);
        assert_eq!(groups.number_of(group("d")).unwrap(), 1);
        assert_eq!((groups.name_of(1), groups.name_of(0)), (Some(group("d")), None));
    }

    #[test]
    fn too_many_groups_are_refused() {
        let mut groups = Groups::default();
        for number in 0..MOST_GROUPS {
            groups.number_of(group(&number.to_string())).unwrap();
        }
        assert!(groups.number_of(group("0")).is_ok());
        assert!(groups.number_of(group("more")).unwrap_err().to_string().contains("at most 1024 groups"));
    }

    #[test]
    fn what_was_set_can_be_read_back_and_differs_in_nothing() {
        let mut groups = Groups::default();
        let change = PolicyChange {
            host_access: Some(false),
            sibling_access: Some(false),
            group: Some(Some(group("blue"))),
            anti_spoof: Some(AntiSpoof::Mac),
            vepa_reflect: Some(Reflection::Local),
            rate_rx: Some(Some("1mbit+2kpps".parse().unwrap())),
            rate_tx: Some(None),
            rate_scope: Some(RateScope::Wire),
            ra: Some(false),
            dhcp_server: Some(false),
            host_control: Some(true),
            mac_change: Some(true),
            named: true,
            takes_mode: false,
        };
        let policy = change.apply(None, Mode::Vepa, &mut groups).unwrap();
        let rates = change.apply_rates(RateLimits::default());
        assert_eq!(PolicyChange::of(policy, rates, &groups), change);
        assert!(change.differing(policy, rates, &groups).is_empty());
        assert_eq!(change.apply_rates(rates), rates);
        let off = PolicyChange { rate_rx: Some(None), ..PolicyChange::default() };
        assert_eq!(off.differing(policy, rates, &groups).phrases(), ["rate-rx off"]);
        assert!(off.apply_rates(rates).is_empty());
        assert_eq!(PolicyChange::default().apply_rates(rates), rates);
        let told = PolicyStatus::of(policy, rates, &groups).phrases().join(", ");
        let expected = "vepa-reflect local, rate-rx 1mbit+2kpps, rate-scope wire, ra off, dhcp-server off, \
                        host-control on, mac-change on";
        assert!(told.ends_with(expected), "{told}");
        let moved = PolicyChange::default().apply(Some(policy), Mode::Bridge, &mut groups).unwrap();
        assert_eq!(moved, policy.with_mode(Mode::Bridge));
        let out = PolicyChange { group: Some(None), ..PolicyChange::default() };
        assert_eq!(out.differing(policy, rates, &groups).phrases(), ["no group"]);
        assert_eq!(out.apply(Some(policy), Mode::Vepa, &mut groups).unwrap().group(), 0);
    }
}
