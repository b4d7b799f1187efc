//! What the kernel says of a program that it does not take, in one line.

use anyhow::anyhow;
use aya::programs::{ProgramError, TcError, xdp::XdpError};
use nix::errno::Errno;

/// How the lines begin that the verifier ends its log with, whatever it found.
const SUMMARY: [&str; 3] = ["processed", "stack depth", "verification time"];

/// The verifier's or the kernel's word on a program that it refused.
pub fn refused(name: &str, error: &ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let tells = |line: &&str| !line.is_empty() && !SUMMARY.iter().any(|head| line.starts_with(head));
            let last = log.lines().rev().find(tells);
            let word = last.map(|line| format!(" ({line})")).unwrap_or_default();
            anyhow!("the kernel refuses program {name}: {}{word}", crate::kernel::errno::errno(io_error))
        }
        error => anyhow!("cannot load program {name}: {}", flat(error)),
    }
}

/// By what a program is attached to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The device's XDP hook, which takes one program.
    Xdp,
    /// A list of TCX programs, which takes each once.
    Tcx,
    /// A filter of a clsact qdisc.
    Filter,
}

/// Why an attach was refused: the kernel's error, without aya's way there.
pub fn reason(mechanism: Mechanism, error: &ProgramError) -> String {
    let raw = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    raw.map_or_else(|| flat(error), |raw| word(mechanism, Errno::from_raw(raw)))
}

/// What the kernel means by this error of this mechanism.
fn word(mechanism: Mechanism, errno: Errno) -> String {
    let word = match (mechanism, errno) {
        (Mechanism::Xdp, Errno::EBUSY | Errno::EEXIST) => "another XDP program is attached",
        // `bpf_mprog_attach` in kernel/bpf/mprog.c.
        (Mechanism::Tcx, Errno::EEXIST) => "the same program is attached already",
        (Mechanism::Tcx, Errno::EBUSY) => "a link of another program holds its place",
        (Mechanism::Tcx, Errno::ERANGE) => "the device has as many TCX programs as it can",
        (Mechanism::Filter, Errno::EBUSY | Errno::EEXIST) => "another TC filter has its priority and handle",
        (Mechanism::Filter, Errno::ENOENT) => "somebody removed the clsact qdisc",
        (_, Errno::EOPNOTSUPP) => "not supported by the driver",
        (_, Errno::EINVAL) => "not supported by the kernel or the driver",
        (_, errno) => return errno.desc().to_lowercase(),
    };
    word.to_owned()
}

/// An error and its causes on one line.
pub fn flat(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let line = text.split('\n').next().unwrap_or_default();
    // "Operation not permitted (os error 1)" says the same without the number.
    match line.split_once(" (os error ") {
        Some((head, _)) => head.to_lowercase(),
        None => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn a_hook_that_is_taken_is_named() {
        let busy = |mechanism, errno| {
            let io_error = io::Error::from_raw_os_error(errno);
            reason(mechanism, &ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error }))
        };
        for errno in [libc::EBUSY, libc::EEXIST] {
            assert_eq!(busy(Mechanism::Xdp, errno), "another XDP program is attached");
            for mechanism in [Mechanism::Tcx, Mechanism::Filter] {
                assert!(!busy(mechanism, errno).contains("XDP"), "{mechanism:?}: {}", busy(mechanism, errno));
            }
        }
        assert_eq!(busy(Mechanism::Tcx, libc::ERANGE), "the device has as many TCX programs as it can");
    }

    #[test]
    fn an_error_of_another_call_is_told_as_the_kernel_says_it() {
        let error = ProgramError::TcError(TcError::IoError(io::Error::from_raw_os_error(libc::ENODEV)));
        assert_eq!(reason(Mechanism::Filter, &error), "no such device");
    }
}
