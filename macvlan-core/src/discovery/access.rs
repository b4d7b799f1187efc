//! Whether a command may change anything.

/// Whether a command may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only looks: no lock, no cleaning up.
    Read,
    /// It may.
    Change,
}
