//! Settings of the kernel that decide about BPF.

use std::fs;

use crate::{
    commands::doctor::finding::{Finding, Status},
    kernel::{bpffs, netns::NetnsRef},
};

/// As they were read; `None` where the kernel has no such setting or does not tell.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `/sys/kernel/security/lockdown`: all modes, the active one in brackets.
    pub lockdown: Option<String>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u32>,
    /// `net.core.bpf_jit_harden`.
    pub jit_harden: Option<u32>,
    /// The BPF file system is mounted.
    pub bpffs_mounted: bool,
    /// Why it could not be mounted, where it is not.
    pub bpffs_refused: Option<String>,
}

impl Settings {
    /// Those of this machine.
    pub fn read() -> Self {
        let mounted = bpffs::is_mounted();
        let refused = if mounted { None } else { bpffs::probe().err().map(|error| format!("{error:#}")) };
        Self {
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok(),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            jit: first_netns_number("/proc/sys/net/core/bpf_jit_enable"),
            jit_harden: first_netns_number("/proc/sys/net/core/bpf_jit_harden"),
            bpffs_mounted: mounted,
            bpffs_refused: refused,
        }
    }
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A setting of the whole machine that is shown in the first network namespace alone
/// (`net_core_table` in the kernel's net/core/sysctl_net_core.c).
fn first_netns_number(path: &str) -> Option<u32> {
    number(path).or_else(|| NetnsRef::Pid(1).open().ok()?.run(|| Ok(number(path))).ok().flatten())
}

/// What these settings mean.
pub fn judge(settings: &Settings) -> Vec<Finding> {
    vec![
        bpffs(settings),
        jit(settings.jit),
        jit_harden(settings.jit_harden),
        lockdown(settings.lockdown.as_deref()),
        unprivileged(settings.unprivileged_bpf_disabled),
    ]
}

fn bpffs(settings: &Settings) -> Finding {
    let reason = "what is attached outlives the command by being pinned in the BPF file system";
    match (settings.bpffs_mounted, &settings.bpffs_refused) {
        (true, _) => Finding::new(Status::Ok, "bpffs", "mounted at /sys/fs/bpf", reason),
        (false, None) => {
            let found = "not mounted at /sys/fs/bpf; attach will mount it where it runs";
            Finding::new(Status::Note, "bpffs", found, reason).remedy("mount -t bpf bpf /sys/fs/bpf")
        }
        (false, Some(refusal)) => Finding::new(Status::Problem, "bpffs", refusal, reason)
            .remedy("as root, outside of containers: mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn jit(enabled: Option<u32>) -> Finding {
    let reason = "compiled programs take a fraction of the time per frame that interpreted ones do";
    let check = "bpf-jit";
    match enabled {
        Some(0) => Finding::new(Status::Warning, check, "off: programs are interpreted", reason)
            .remedy("sysctl net.core.bpf_jit_enable=1"),
        Some(_) => Finding::new(Status::Ok, check, "on", reason),
        None => Finding::new(Status::Note, check, "the kernel does not tell", reason),
    }
}

fn jit_harden(level: Option<u32>) -> Finding {
    let reason = "hardening blinds constants in compiled programs, which makes them larger and slower";
    let check = "bpf-jit-harden";
    match level {
        Some(0) => Finding::new(Status::Ok, check, "off", reason),
        Some(1) => Finding::new(Status::Ok, check, "for ordinary users' programs, so not for ours", reason),
        Some(_) => Finding::new(Status::Note, check, "for all programs", reason)
            .remedy("where no ordinary user loads BPF: sysctl net.core.bpf_jit_harden=1"),
        None => Finding::new(Status::Note, check, "the kernel does not tell (root may be needed)", reason),
    }
}

fn lockdown(modes: Option<&str>) -> Finding {
    let reason = "a locked-down kernel refuses BPF programs that read kernel memory; ours read packets only";
    let active = modes.and_then(|modes| modes.split_once('[')?.1.split_once(']')).map(|(active, _)| active);
    match active {
        None => Finding::new(Status::Ok, "lockdown", "the kernel has none, or does not show it", reason),
        Some("none") => Finding::new(Status::Ok, "lockdown", "none", reason),
        Some(active) => Finding::new(Status::Note, "lockdown", active, reason),
    }
}

fn unprivileged(disabled: Option<u32>) -> Finding {
    let reason = "BPF by ordinary users is not needed, and was a way to attack kernels";
    let check = "bpf-unprivileged";
    match disabled {
        Some(0) => Finding::new(Status::Note, check, "ordinary users may load programs", reason)
            .remedy("sysctl kernel.unprivileged_bpf_disabled=2"),
        Some(_) => Finding::new(Status::Ok, check, "ordinary users may not load programs", reason),
        None => Finding::new(Status::Note, check, "the kernel does not tell", reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Settings {
        Settings {
            lockdown: Some("[none] integrity confidentiality\n".into()),
            unprivileged_bpf_disabled: Some(2),
            jit: Some(1),
            jit_harden: Some(0),
            bpffs_mounted: true,
            bpffs_refused: None,
        }
    }

    /// The only finding that is not "ok".
    fn only(settings: &Settings) -> Finding {
        let found = judge(settings).into_iter().filter(|finding| finding.status != Status::Ok);
        let [finding] = <[Finding; 1]>::try_from(found.collect::<Vec<_>>()).unwrap();
        finding
    }

    #[test]
    fn a_good_machine_gets_no_remark() {
        assert!(judge(&good()).iter().all(|finding| finding.status == Status::Ok));
    }

    #[test]
    fn each_setting_is_judged_by_itself() {
        for (settings, check, status) in [
            (Settings { jit: Some(0), ..good() }, "bpf-jit", Status::Warning),
            (Settings { jit: None, ..good() }, "bpf-jit", Status::Note),
            (Settings { jit_harden: Some(2), ..good() }, "bpf-jit-harden", Status::Note),
            (Settings { unprivileged_bpf_disabled: Some(0), ..good() }, "bpf-unprivileged", Status::Note),
            (
                Settings { lockdown: Some("none [integrity] confidentiality".into()), ..good() },
                "lockdown",
                Status::Note,
            ),
            (Settings { bpffs_mounted: false, ..good() }, "bpffs", Status::Note),
            (
                Settings { bpffs_mounted: false, bpffs_refused: Some("no".into()), ..good() },
                "bpffs",
                Status::Problem,
            ),
        ] {
            let found = only(&settings);
            assert_eq!((found.check.as_str(), found.status), (check, status));
        }
    }

    #[test]
    fn the_active_mode_is_the_one_in_brackets() {
        assert_eq!(lockdown(Some("none integrity [confidentiality]")).found, "confidentiality");
        for garbage in ["", "[", "]", "][", "none integrity"] {
            assert_eq!(lockdown(Some(garbage)).status, Status::Ok, "{garbage:?}");
        }
    }
}
