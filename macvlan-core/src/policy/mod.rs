//! What children may do: rules, groups, rates.

pub mod change;
pub(crate) mod confine;
pub(crate) mod glob;
pub(crate) mod groups;
pub mod home;
pub mod rate;
pub(crate) mod rules;
pub mod status;
