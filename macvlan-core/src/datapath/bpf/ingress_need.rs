//! What needs a program of ours at TC ingress of the master, where none is asked for.

use std::collections::BTreeMap;

use macvlan_common::{
    child::{Mode, Policy},
    config::Config,
    mac::Mac,
};

use crate::{
    datapath::bpf::record::Record,
    model::{
        description::Degraded,
        options::{DropUnknown, IngressChoice, OptionValues},
    },
};

/// What is less where a program is at ingress that was not to be, as `degraded` names it.
const FEATURE: &str = "ingress";

/// Why a program has to be at ingress with these options and these children; `None`: nothing needs one.
pub fn need(options: &OptionValues, single: bool, members: &BTreeMap<Mac, Policy>) -> Option<String> {
    let asked = [
        (single, "single-mac"),
        (options.drop_unknown != DropUnknown::Off, "drop-unknown"),
        (options.storm_limit.per_second().is_some(), "storm-limit"),
        // What such a switch sends back, the children would hear a second time.
        (options.vepa_switch, "vepa-switch"),
    ];
    if let Some((_, what)) = asked.iter().find(|(is_asked, _)| *is_asked) {
        return Some(format!("{what} is asked for"));
    }
    // What is said of it beside its mode and its guards concerns frames at egress alone.
    let usual = Policy::new(Mode::Bridge, true);
    let is_plain = |policy: &Policy| {
        let bare = policy.with_named(false).with_unruled(false).with_vouched(false);
        let bare = bare.with_host_control(false).with_mac_change(false).with_port(0);
        bare == usual || policy.is_hosts()
    };
    let (mac, policy) = members.iter().find(|(_, policy)| !is_plain(policy))?;
    Some(match policy.mode() {
        Mode::Bridge => format!("child {mac} is guarded, limited or kept apart"),
        mode => format!("child {mac} is in mode {}", mode.as_str()),
    })
}

/// The same where no copies go through a flood device though children hear the host: they come up on the master.
pub fn need_with_flood(record: &Record, members: &BTreeMap<Mac, Policy>, flood: u32) -> Option<String> {
    let hears_host = Config::flags_of(members.values().copied()) & Config::FLOOD != 0;
    let lacks_flood = || "the host's broadcasts have no device of their own to go through".to_owned();
    need(&record.options, record.single, members).or_else(|| (hears_host && flood == 0).then(lacks_flood))
}

/// What is less where no program was to be at ingress, and one is.
pub fn degraded(record: &Record, members: &BTreeMap<Mac, Policy>, flood: u32) -> Option<Degraded> {
    let is_less = record.options.ingress == IngressChoice::Off && !record.lean;
    let reason = is_less.then(|| need_with_flood(record, members, flood))??;
    Some(Degraded::new(FEATURE, "off", "on", reason))
}

/// Whether this is about a program at ingress that was not to be there.
pub fn concerns(degraded: &Degraded) -> bool {
    degraded.feature == FEATURE && degraded.wanted == "off"
}

#[cfg(test)]
mod tests {
    use macvlan_common::child::AntiSpoof;

    use super::*;

    const WEB: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_mode_a_guard_or_a_limit_needs_one() {
        let usual = Policy::new(Mode::Bridge, true);
        let why = |policy: Policy| need(&OptionValues::default(), false, &[(WEB, policy)].into());
        for plain in [
            usual,
            usual.with_named(true),
            usual.with_vouched(true),
            usual.with_host_control(true),
            Policy::new(Mode::Private, true).with_hosts(true),
        ] {
            assert_eq!(why(plain), None, "{plain:?}");
        }
        for mode in [Mode::Private, Mode::Vepa, Mode::Source, Mode::Passthru] {
            let reason = why(usual.with_mode(mode)).unwrap_or_default();
            assert!(reason.ends_with(&format!("is in mode {}", mode.as_str())), "{reason}");
        }
        for guarded in [
            usual.with_host_access(false),
            usual.with_sibling_access(false),
            usual.with_anti_spoof(AntiSpoof::Mac),
            usual.with_ra(false),
            usual.with_dhcp_server(false),
            usual.with_limit(true),
            usual.with_group(3),
            usual.with_unsettled(true),
        ] {
            assert!(why(guarded).is_some_and(|reason| reason.contains(&WEB.to_string())), "{guarded:?}");
        }
    }

    #[test]
    fn options_of_the_master_need_one() {
        let none = BTreeMap::new();
        let plain = OptionValues::default();
        assert_eq!(need(&plain, false, &none), None);
        assert_eq!(need(&plain, true, &none).as_deref(), Some("single-mac is asked for"));
        let drops = OptionValues { drop_unknown: DropUnknown::On, ..plain };
        assert_eq!(need(&drops, false, &none).as_deref(), Some("drop-unknown is asked for"));
        let reflects = OptionValues { vepa_switch: true, ..plain };
        assert_eq!(need(&reflects, false, &none).as_deref(), Some("vepa-switch is asked for"));
    }
}
