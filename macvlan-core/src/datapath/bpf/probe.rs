//! Whether this machine lets us have BPF.

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::{
    EbpfLoader,
    maps::MapType,
    programs::ProgramType,
    sys::{is_map_supported, is_program_supported},
};

use crate::{
    datapath::bpf::{
        hooks::tc::{Hooks, Variant},
        load::no_maps,
        object::{keep_rings_small, object},
        sockets::let_ask,
    },
    kernel::{bpffs, program::allow_memory},
};

/// How much of the programs the kernel judges in [`probe`]. The verifier takes its time for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// None, only one of two instructions: for who installs all of them next, and hears then of what is
    /// refused.
    Shallow,
    /// Those without which there is no data path.
    Whole,
}

/// How long what was found is taken for true while nothing around has changed: capabilities, lockdown and
/// the kernel stay as they are for a process.
const LASTING: Duration = Duration::from_secs(60);

/// What a whole [`probe`] found, for who asks often: the verifier takes its time for each program.
#[derive(Debug, Default)]
pub struct ProbeMemory {
    last: Option<Probed>,
}

#[derive(Debug)]
struct Probed {
    at: Instant,
    place: bpffs::Place,
    refusal: Option<String>,
}

impl ProbeMemory {
    /// Why this machine lets us have no BPF, if so. It is tried where that may have changed: the BPF file
    /// system came or went, or it is a while ago.
    pub fn refusal(&mut self) -> Option<String> {
        self.remember(Instant::now(), bpffs::place(), || probe(Depth::Whole).err())
    }

    fn remember(
        &mut self,
        now: Instant,
        place: bpffs::Place,
        look: impl FnOnce() -> Option<anyhow::Error>,
    ) -> Option<String> {
        let is_true = |last: &&Probed| last.place == place && now < last.at + LASTING;
        if let Some(last) = self.last.as_ref().filter(is_true) {
            return last.refusal.clone();
        }
        let refusal = look().map(|error| refusal_text(&error));
        self.last = Some(Probed { at: now, place, refusal: refusal.clone() });
        refusal
    }
}

/// What people are told of a machine without BPF.
pub fn refusal_text(error: &anyhow::Error) -> String {
    format!("BPF is unavailable: {error:#}")
}

/// Whether this machine lets us have BPF at all; changes nothing.
///
/// # Errors
///
/// No BPF file system can be mounted, the process lacks `CAP_BPF`, `CAP_NET_ADMIN` or (before kernel 5.8)
/// `CAP_SYS_ADMIN`, a filter on system calls is in the way, or the verifier refuses a program.
pub fn probe(depth: Depth) -> Result<()> {
    bpffs::probe()?;
    allow_memory();
    if depth == Depth::Shallow && takes_anything() {
        return Ok(());
    }
    let mut loader = EbpfLoader::new();
    keep_rings_small(&mut loader);
    let_ask(&mut loader);
    let mut object = loader.load(object()).map_err(|error| no_maps(&error))?;
    Hooks::verify(&mut object, Variant::default())
}

/// Whether the kernel takes a map and a program from us at all. Why not, our own tell.
fn takes_anything() -> bool {
    is_map_supported(MapType::PerCpuHash).unwrap_or(false)
        && is_program_supported(ProgramType::SchedClassifier).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_programs_are_verified_again_only_when_something_changed_or_after_a_while() {
        let mut memory = ProbeMemory::default();
        let mut looked = 0;
        let start = Instant::now();
        let mut ask = |seconds, place: bpffs::Place, found: Option<&str>| {
            let look = || {
                looked += 1;
                found.map(|text| anyhow!("{text}"))
            };
            let told = memory.remember(start + Duration::from_secs(seconds), place, look);
            (told, looked)
        };
        let (nowhere, mounted) = (bpffs::Place::Nowhere, bpffs::Place::Mounted);
        let refused = Some("BPF is unavailable: no".to_owned());
        assert_eq!(ask(0, nowhere, Some("no")), (refused.clone(), 1));
        for second in 1..60 {
            assert_eq!(ask(second, nowhere, None), (refused.clone(), 1));
        }
        assert_eq!(ask(60, nowhere, Some("no")), (refused, 2));
        assert_eq!(ask(61, mounted, None), (None, 3));
        assert_eq!(ask(62, mounted, Some("no")), (None, 3), "that BPF is available is remembered, too");
    }
}
