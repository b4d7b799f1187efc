//! What the kernel says of a program that it does not take, in one line.

use anyhow::anyhow;
use aya::programs::ProgramError;
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

/// Why an attach was refused: the kernel's error, without aya's way there.
pub fn reason(error: &ProgramError) -> String {
    let io_error = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match io_error.map(Errno::from_raw) {
        Some(Errno::EBUSY | Errno::EEXIST) => "another XDP program is attached".to_owned(),
        Some(Errno::EOPNOTSUPP) => "not supported by the driver".to_owned(),
        Some(Errno::EINVAL) => "not supported by the kernel or the driver".to_owned(),
        Some(errno) => errno.desc().to_lowercase(),
        None => flat(error),
    }
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
