//! What people are told meanwhile.

use crate::follow::watch::change::Change;

/// Something that people are told.
#[derive(Debug)]
pub enum Note<'a> {
    /// Something changed.
    Change(&'a Change),
    /// Something about a master, or about everything.
    Info(String),
    /// Settings that are gone with a data path that was taken off.
    Forgotten(&'a [String]),
    /// Something is not as it should be.
    Warning(String),
}

/// Where notes go.
pub type Report<'a> = &'a mut dyn FnMut(Note<'_>);
