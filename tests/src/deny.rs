//! Machines that refuse something: a filter on system calls, or capabilities taken away.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use libc::{sock_filter, sock_fprog};

use crate::{cli, lab::Lab};

/// Makes every `bpf(2)` of `command` fail with this error, as a container engine's own filter
/// does (EPERM) or a kernel without it (ENOSYS).
pub fn bpf(command: &mut Command, errno: i32) {
    let refusal = libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut program = [
        // The number of the call is the first field of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_bpf as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, refusal),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the pointer is to a live `sock_fprog` whose length is that of its program.
        let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Lets `command` lock no memory, and raise no limit of itself.
pub fn locked_memory(command: &mut Command) {
    let limit = || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a live `rlimit`.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(limit) };
}

/// The program under test in the host's namespace, as root without these capabilities; it cannot
/// be told `-n` when one of them is `sys_admin`.
pub fn capabilities(lab: &Lab, without: &[&str], args: &[&str]) -> Command {
    let bounds: Vec<String> = without.iter().map(|name| format!("-{name}")).collect();
    let mut command = lab.command(&lab.host.ns, "setpriv");
    command.args(["--bounding-set", &bounds.join(",")]).arg(cli::binary()).args(args);
    command
}

/// One instruction; `otherwise` is how many to skip when a comparison fails.
const fn statement(code: u32, otherwise: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: otherwise, k }
}
