//! Whether programs are traced, and by somebody who lives.

use std::path::Path;

use crate::{datapath::bpf::record::Record, kernel::lock::Lock, model::description::Degraded};

/// What a trace that runs, or was killed, costs.
pub fn degraded(record: &Record, directory: &Path) -> Option<Degraded> {
    let reason = if runs(directory) {
        "a trace is running, which costs time on every frame"
    } else {
        "programs left by a killed trace, which cost time on every frame; attach again puts them right"
    };
    record.is_traced().then(|| Degraded::new("trace", "off", "on", reason))
}

/// Whether the trace runs that put the programs of `directory` in place.
pub fn runs(directory: &Path) -> bool {
    let key = directory.file_name().unwrap_or_default();
    Lock::trace_runs(&key.to_string_lossy())
}
