//! What a verb says beside its answer: runtimes log it.

/// Says what is less than was asked for.
pub fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("macvlan-cni: warning: {warning}"));
}
