//! Which thread runs where.

use std::io;

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The processors that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

/// Which side of a conversation a thread is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It asks, or sends.
    Near,
    /// It answers, or receives.
    Far,
}

impl Cpus {
    /// Those of the calling thread.
    ///
    /// # Errors
    ///
    /// The affinity of this thread cannot be read.
    pub fn allowed() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0)).context("cannot tell which processors to use")?;
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
        if cpus.is_empty() {
            bail!("there is no processor to run on");
        }
        Ok(Self(cpus))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The last one alone, for both sides: how two share out a stream is no matter of luck there.
    #[must_use]
    pub fn only_one(&self) -> Self {
        Self(vec![self.last()])
    }

    fn last(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// The processor of one side of conversation `number`: near and far never share one where there
    /// are two, and conversations are spread over all.
    pub fn of(&self, side: Side, number: usize) -> usize {
        let place = 2 * number + usize::from(side == Side::Far);
        self.0[place % self.0.len()]
    }

    /// Keeps the calling thread where [`of`](Self::of) says, before everybody else there: otherwise a
    /// busy machine's other work would be measured. A second at most, so nobody starves.
    ///
    /// # Errors
    ///
    /// The processor is offline, or not allowed for this process.
    pub fn pin(&self, side: Side, number: usize) -> Result<()> {
        take(self.of(side, number))
    }

    /// Keeps the calling thread on the last processor, before everybody else there.
    ///
    /// # Errors
    ///
    /// The processor is offline, or not allowed for this process.
    pub fn take_one(&self) -> Result<()> {
        take(self.last())
    }
}

/// Puts the calling thread, and what it starts, before all without a real-time priority.
///
/// # Errors
///
/// When the machine does not let it: one that shares out real-time (`cpu.rt_runtime_us`) does not.
pub fn go_first() -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sched_param`, which has more fields in musl than in glibc.
    let mut priority: libc::sched_param = unsafe { std::mem::zeroed() };
    priority.sched_priority = 10;
    // SAFETY: the function has no conditions.
    let thread = unsafe { libc::pthread_self() };
    // Not `sched_setscheduler`, which musl does not have: POSIX means a whole process by it.
    // SAFETY: `priority` is read, for the calling thread, which is alive.
    match unsafe { libc::pthread_setschedparam(thread, libc::SCHED_RR, &raw const priority) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn take(cpu: usize) -> Result<()> {
    pin(cpu)?;
    // Where it may not go first, the machine's other work is measured, too.
    let _ = go_first();
    Ok(())
}

fn pin(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu).with_context(|| format!("cannot name processor {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &only).with_context(|| format!("cannot stay on processor {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_share_a_processor_only_where_there_is_one() {
        let two = Cpus(vec![3, 5]);
        assert_eq!((two.of(Side::Near, 0), two.of(Side::Far, 0)), (3, 5));
        assert_eq!((two.of(Side::Near, 7), two.of(Side::Far, 7)), (3, 5));
        let four = Cpus(vec![0, 1, 2, 3]);
        assert_eq!((four.of(Side::Near, 1), four.of(Side::Far, 1)), (2, 3));
        let only = four.only_one();
        assert_eq!((only.count(), only.of(Side::Near, 1), only.of(Side::Far, 1)), (1, 3, 3));
        let one = Cpus(vec![4]);
        assert_eq!((one.of(Side::Near, 2), one.of(Side::Far, 2)), (4, 4));
    }
}
