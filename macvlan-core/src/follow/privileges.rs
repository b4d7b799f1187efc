//! Giving up what is not needed after start-up.

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};

use crate::{
    follow::settings::Settings,
    model::options::{Isolation, MissingChoice, SingleMac},
};

/// What following needs:
///
/// * `CAP_NET_ADMIN`: programs on devices, children, namespace ids, devices of other namespaces.
/// * `CAP_BPF`, `CAP_PERFMON`: programs and maps, as they are loaded for a master that comes back.
/// * `CAP_SYS_PTRACE`: opening `/proc/PID/ns/net` of containers, to find children in namespaces
///   that have neither number nor name.
const FOLLOWING: [Capability; 4] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_SYS_PTRACE];

/// Making children in other namespaces, and putting programs on their devices, means entering these
/// (`setns(2)`). Programs on the macvlan driver, where it is a module, mean asking for its types (`BPF_BTF_GET_FD_BY_ID`).
const ENTERING: Capability = Capability::CAP_SYS_ADMIN;

/// Telling children that the host is at another MAC now, where a shim may come and go, and a wire that carries one MAC
/// which that is (`packet(7)`).
const ANNOUNCING: Capability = Capability::CAP_NET_RAW;

/// Which capabilities these settings need; what children are held to beside them; and a wire that carries one MAC.
pub fn needed(settings: &Settings, is_guarded: bool, is_single: bool) -> CapsHashSet {
    let mut needed: CapsHashSet = FOLLOWING.into_iter().collect();
    let mut children = settings.masters.iter().flat_map(|wanted| &wanted.config.request.children);
    let guards = || settings.masters.iter().any(|wanted| wanted.config.policies.want_programs());
    let is_strict = || {
        settings
            .masters
            .iter()
            .any(|wanted| wanted.config.request.options.isolation == Some(Isolation::Strict))
    };
    if is_guarded || is_strict() || guards() || children.any(|child| child.settings.netns.is_some()) {
        needed.insert(ENTERING);
    }
    let mut options = settings.masters.iter().map(|wanted| &wanted.config.request.options);
    let may_be_single = |choice: SingleMac| choice != SingleMac::Off;
    if is_single
        || options.any(|options| {
            options.on_missing_bpf == Some(MissingChoice::Shim)
                || options.single_mac.is_some_and(may_be_single)
        })
    {
        needed.insert(ANNOUNCING);
    }
    needed
}

/// Whether these settings need a capability that was given up.
pub fn lacks(settings: &Settings) -> bool {
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    !needed(settings, false, false).is_subset(&effective)
}

/// Gives up every other capability of the calling thread, for good: threads and programs that it
/// starts have no more either.
///
/// # Errors
///
/// The capabilities of this process cannot be changed.
pub fn keep_only(needed: &CapsHashSet) -> Result<()> {
    let gave_up = || -> Result<()> {
        let permitted = caps::read(None, CapSet::Permitted)?;
        if permitted.contains(&Capability::CAP_SETPCAP) {
            for capability in caps::read(None, CapSet::Bounding)?.difference(needed) {
                caps::drop(None, CapSet::Bounding, *capability)?;
            }
        }
        let kept: CapsHashSet = permitted.intersection(needed).copied().collect();
        caps::clear(None, CapSet::Ambient)?;
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)?;
        caps::clear(None, CapSet::Inheritable)?;
        nix::sys::prctl::set_no_new_privs()?;
        Ok(())
    };
    gave_up().context("cannot give up capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::master::MasterConfig, follow::settings::WantedMaster};

    #[test]
    fn only_children_in_other_namespaces_need_sys_admin() {
        let config = |child: &str| MasterConfig {
            name: "eth0".parse().unwrap(),
            request: crate::model::request::AttachRequest {
                children: vec![child.parse().unwrap()],
                ..Default::default()
            },
            policies: Default::default(),
        };
        let wanted = |child| WantedMaster { config: config(child), configured: true };
        let settings = |child| Settings { masters: vec![wanted(child)], ..Settings::default() };
        assert!(!needed(&settings("web,mode=private"), false, false).contains(&ENTERING));
        assert!(needed(&settings("web,netns=web"), false, false).contains(&ENTERING));
        assert!(needed(&settings("web,mode=private"), true, false).contains(&ENTERING));
    }
}
