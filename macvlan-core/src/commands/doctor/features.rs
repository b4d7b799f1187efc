//! What the kernel was found to let us have, and what its lack means.

use std::fs;

use crate::{
    commands::doctor::finding::{Finding, Status},
    discovery::features::{Feature, Tried},
};

/// What about this process can be a cause of refusals.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// It runs as root.
    pub root: bool,
    /// A seccomp filter decides on its system calls.
    pub filtered: bool,
    /// How many bytes it may lock in memory; `None` is no limit.
    pub memlock: Option<u64>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_self(root: bool) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self { root, filtered: is_filtered(&status), memlock: memlock(&limits) }
    }
}

/// Whether `/proc/self/status` tells of a seccomp filter (`SECCOMP_MODE_FILTER`).
fn is_filtered(status: &str) -> bool {
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

/// The soft limit of locked memory in `/proc/self/limits`.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The least that our maps take before kernel 5.11, which charged them to the limit: about that of
/// the largest, for as many children as fit unless told otherwise.
const MEMLOCK_ENOUGH: u64 = 16 << 20;

/// What the outcomes mean. An ordinary user gets one note instead of many refusals.
pub fn judge(tried: &[Tried], surroundings: &Surroundings) -> Vec<Finding> {
    if !surroundings.root {
        let reason = "what the kernel lets us have is found by doing it, as root";
        return vec![Finding::new(Status::Note, "kernel-features", "not tried", reason)];
    }
    let mut findings: Vec<Finding> = tried.iter().map(|tried| judge_one(tried, surroundings)).collect();
    findings.push(judge_memlock(tried, surroundings));
    findings
}

fn judge_one(tried: &Tried, surroundings: &Surroundings) -> Finding {
    let (check, reason, lack) = meaning(&tried.feature);
    match &tried.outcome {
        Ok(()) => Finding::new(Status::Ok, check, good(&tried.feature), reason),
        Err(refusal) => Finding {
            remedy: remedy(&tried.feature, surroundings),
            ..Finding::new(lack, check, refusal, reason)
        },
    }
}

/// The check's name, why it matters, and how bad it is when it fails.
fn meaning(feature: &Feature) -> (String, &'static str, Status) {
    use macvlan_common::names;
    let (check, reason, lack) = match feature {
        Feature::Maps => ("bpf-maps", "children and counters are kept in BPF maps", Status::Problem),
        Feature::Program(name) => {
            let (reason, lack) = match name.as_str() {
                names::INGRESS | names::EGRESS => {
                    ("it turns frames around between host and children", Status::Problem)
                }
                names::XDP_FRAGS => {
                    ("it demultiplexes in the driver, large frames too (kernel 5.18)", Status::Note)
                }
                names::XDP => ("it demultiplexes in the driver; else TC ingress does", Status::Note),
                _ => ("it is part of the data path", Status::Warning),
            };
            return (format!("bpf-program-{name}"), reason, lack);
        }
        Feature::Scratch => (
            "scratch-namespace",
            "the rest is tried on a veth pair in a namespace of its own",
            Status::Problem,
        ),
        Feature::Tcx => {
            ("tcx", "TCX links stay ours and in order among other programs (kernel 6.6)", Status::Note)
        }
        Feature::Clsact => ("clsact", "it takes the programs where there is no TCX", Status::Warning),
        Feature::XdpNative => {
            ("xdp-native", "whether a driver can be given a program at all, tried on veth", Status::Note)
        }
        Feature::XdpGeneric => {
            ("xdp-generic", "XDP for devices whose driver has none; only on demand", Status::Note)
        }
        Feature::Shim => {
            ("shim", "without BPF it is the way from host to children (--on-missing-bpf shim)", Status::Note)
        }
        Feature::Macvlan => ("macvlan", "without it there are no children", Status::Problem),
        Feature::Nsid => {
            ("nsid", "children in other namespaces are told apart by these ids", Status::Problem)
        }
        Feature::ListenAllNsid => {
            ("listen-all-nsid", "run hears of children in all namespaces by it", Status::Warning)
        }
    };
    (check.to_owned(), reason, lack)
}

fn good(feature: &Feature) -> &'static str {
    match feature {
        Feature::Maps => "the kernel makes them",
        Feature::Program(_) => "the kernel takes it",
        Feature::Scratch => "made",
        Feature::Tcx | Feature::Clsact | Feature::XdpNative | Feature::XdpGeneric => "attaching works",
        Feature::Macvlan | Feature::Shim => "can be made",
        Feature::Nsid => "given",
        Feature::ListenAllNsid => "possible",
    }
}

fn remedy(feature: &Feature, surroundings: &Surroundings) -> Option<String> {
    let text = match feature {
        Feature::Maps | Feature::Program(_) if surroundings.filtered => {
            "a seccomp filter is on: let it pass bpf(2) (systemd: SystemCallFilter=bpf, Docker: \
             --cap-add BPF)"
        }
        Feature::Maps | Feature::Program(_) => {
            "a kernel with CONFIG_BPF_SYSCALL, and CAP_BPF and CAP_PERFMON; without BPF, children run as \
             plain kernel macvlan, or talk to the host through a shim (--on-missing-bpf shim)"
        }
        Feature::Scratch => "run as root, outside of containers; the kernel needs veth (modprobe veth)",
        Feature::Macvlan => "modprobe macvlan, or a kernel with CONFIG_MACVLAN",
        Feature::Clsact => "modprobe sch_ingress cls_bpf, or a kernel with CONFIG_NET_CLS_BPF",
        Feature::ListenAllNsid => "run as root, or give it CAP_NET_BROADCAST",
        Feature::Tcx | Feature::XdpNative | Feature::XdpGeneric | Feature::Nsid | Feature::Shim => {
            return None;
        }
    };
    Some(text.to_owned())
}

/// The limit matters before kernel 5.11 alone: it is to blame only where maps were refused.
fn judge_memlock(tried: &[Tried], surroundings: &Surroundings) -> Finding {
    let reason = "before kernel 5.11 maps are charged to the limit of locked memory";
    let maps = tried.iter().find(|tried| tried.feature == Feature::Maps);
    let found = match surroundings.memlock {
        Some(limit) => format!("{} KiB", limit / 1024),
        None => "unlimited".to_owned(),
    };
    let is_low = surroundings.memlock.is_some_and(|limit| limit < MEMLOCK_ENOUGH);
    if is_low && maps.is_some_and(|maps| maps.outcome.is_err()) {
        return Finding::new(Status::Warning, "memlock", found, reason)
            .remedy("ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)");
    }
    Finding::new(Status::Ok, "memlock", found, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Surroundings = Surroundings { root: true, filtered: false, memlock: None };

    fn failed(feature: Feature) -> Tried {
        Tried { feature, outcome: Err("operation not permitted".into()) }
    }

    #[test]
    fn what_the_hairpin_needs_is_a_problem_and_what_has_a_substitute_is_not() {
        for (feature, check, status) in [
            (Feature::Maps, "bpf-maps", Status::Problem),
            (Feature::Program("macvlan_out".into()), "bpf-program-macvlan_out", Status::Problem),
            (Feature::Program("macvlan_xdp_fr".into()), "bpf-program-macvlan_xdp_fr", Status::Note),
            (Feature::Program("later".into()), "bpf-program-later", Status::Warning),
            (Feature::Macvlan, "macvlan", Status::Problem),
            (Feature::Tcx, "tcx", Status::Note),
            (Feature::Clsact, "clsact", Status::Warning),
        ] {
            let found = judge(&[failed(feature)], &ROOT);
            assert_eq!((found[0].check.as_str(), found[0].status), (check, status));
            assert_eq!(found[0].found, "operation not permitted");
        }
    }

    #[test]
    fn a_filter_on_system_calls_is_blamed_when_there_is_one() {
        let filtered = Surroundings { filtered: true, ..ROOT };
        let remedy = |surroundings| judge(&[failed(Feature::Maps)], surroundings)[0].remedy.clone().unwrap();
        assert!(remedy(&filtered).contains("seccomp"));
        assert!(!remedy(&ROOT).contains("seccomp"));
    }

    #[test]
    fn locked_memory_is_blamed_only_where_maps_were_refused() {
        let low = Surroundings { memlock: Some(64 << 10), ..ROOT };
        let made = Tried { feature: Feature::Maps, outcome: Ok(()) };
        let status = |tried| judge(&[tried], &low).pop().unwrap().status;
        assert_eq!(status(failed(Feature::Maps)), Status::Warning);
        assert_eq!(status(made), Status::Ok);
    }

    #[test]
    fn an_ordinary_user_gets_one_note() {
        let found = judge(&[failed(Feature::Maps), failed(Feature::Scratch)], &Surroundings::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].status, Status::Note);
    }

    #[test]
    fn the_process_files_are_read_as_the_kernel_writes_them() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Seccomp:\t0\nSeccomp_filters:\t0\n"));
        let line = "Max locked memory         8388608              8388608              bytes     \n";
        assert_eq!(memlock(line), Some(8_388_608));
        assert_eq!(
            memlock("Max locked memory         unlimited            unlimited            bytes"),
            None
        );
        assert_eq!(memlock(""), None);
    }
}
