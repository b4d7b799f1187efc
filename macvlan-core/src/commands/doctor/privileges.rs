//! What this process may do.

use caps::{CapSet, Capability, CapsHashSet};

use crate::commands::doctor::finding::{Finding, Status};

/// The rights of a process.
#[derive(Debug, Clone, Default)]
pub struct Privileges {
    /// It runs as root.
    pub root: bool,
    /// Its effective capabilities.
    pub capabilities: CapsHashSet,
}

impl Privileges {
    /// Those of this process.
    pub fn of_self() -> Self {
        Self {
            root: nix::unistd::geteuid().is_root(),
            capabilities: caps::read(None, CapSet::Effective).unwrap_or_default(),
        }
    }
}

/// A capability, what it is for, and how bad its lack is.
const NEEDED: [(Capability, &str, &str, Status); 6] = [
    (
        Capability::CAP_NET_ADMIN,
        "cap-net-admin",
        "children are made, and programs are put on the master, with it",
        Status::Problem,
    ),
    (
        Capability::CAP_BPF,
        "cap-bpf",
        "maps are made and programs loaded with it; without them host and children cannot talk",
        Status::Problem,
    ),
    (
        Capability::CAP_PERFMON,
        "cap-perfmon",
        "without it the verifier takes packet programs for those of an untrusted user",
        Status::Warning,
    ),
    (
        Capability::CAP_SYS_ADMIN,
        "cap-sys-admin",
        "children in other network namespaces are looked at from inside, and the BPF file system is \
         mounted, with it",
        Status::Warning,
    ),
    (
        Capability::CAP_SYS_PTRACE,
        "cap-sys-ptrace",
        "the namespaces of other users' processes, where containers live, are found with it",
        Status::Warning,
    ),
    (
        Capability::CAP_NET_BROADCAST,
        "cap-net-broadcast",
        // `NETLINK_LISTEN_ALL_NSID` in the kernel's net/netlink/af_netlink.c.
        "run hears of children that come and go in other network namespaces with it",
        Status::Warning,
    ),
];

/// What these rights mean.
pub fn judge(privileges: &Privileges) -> Vec<Finding> {
    if !privileges.root {
        let reason = "every command but this one needs root, and much of what is looked at does";
        return vec![
            Finding::new(Status::Warning, "user", "run as an ordinary user", reason)
                .remedy("sudo macvlan-ctl doctor"),
        ];
    }
    NEEDED.iter().map(|needed| judge_one(privileges, needed)).collect()
}

fn judge_one(
    privileges: &Privileges,
    (capability, check, reason, lack): &(Capability, &str, &str, Status),
) -> Finding {
    let holds = |capability: &Capability| privileges.capabilities.contains(capability);
    // `bpf_capable` and `perfmon_capable` in the kernel's include/linux/capability.h.
    let by_sys_admin = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON)
        && holds(&Capability::CAP_SYS_ADMIN);
    if holds(capability) {
        return Finding::new(Status::Ok, *check, "held", *reason);
    }
    if by_sys_admin {
        return Finding::new(Status::Ok, *check, "not held, but CAP_SYS_ADMIN is as good", *reason);
    }
    Finding::new(*lack, *check, "not held", *reason)
        .remedy(format!("run as root outside of a container, or give the container or service {capability}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_without(missing: &[Capability]) -> Vec<Finding> {
        let held = caps::all().into_iter().filter(|capability| !missing.contains(capability));
        judge(&Privileges { root: true, capabilities: held.collect() })
    }

    fn status(findings: &[Finding], check: &str) -> Status {
        findings.iter().find(|finding| finding.check == check).unwrap().status
    }

    #[test]
    fn root_with_everything_lacks_nothing() {
        assert!(root_without(&[]).iter().all(|finding| finding.status == Status::Ok));
    }

    #[test]
    fn each_capability_that_is_missing_is_named_with_a_remedy() {
        let found = root_without(&[Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE]);
        assert_eq!(status(&found, "cap-net-admin"), Status::Problem);
        assert_eq!(status(&found, "cap-sys-ptrace"), Status::Warning);
        assert_eq!(status(&found, "cap-bpf"), Status::Ok);
        let remedy = found[0].remedy.as_deref().unwrap();
        assert!(remedy.contains("CAP_NET_ADMIN"), "{remedy}");
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let bpf = [Capability::CAP_BPF, Capability::CAP_PERFMON];
        let found = root_without(&bpf);
        assert_eq!(status(&found, "cap-bpf"), Status::Ok);
        let found = root_without(&[bpf[0], bpf[1], Capability::CAP_SYS_ADMIN]);
        assert_eq!(status(&found, "cap-bpf"), Status::Problem);
        assert_eq!(status(&found, "cap-perfmon"), Status::Warning);
    }

    #[test]
    fn an_ordinary_user_is_told_once() {
        let found = judge(&Privileges::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].check.as_str(), found[0].status), ("user", Status::Warning));
    }
}
