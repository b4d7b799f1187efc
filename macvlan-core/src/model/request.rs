//! What `attach` and `apply` are asked for.

use crate::{
    model::{
        options::{OptionValues, Options},
        spec::ChildSpec,
    },
    policy::rules::Policies,
};

/// What `attach` is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttachRequest {
    /// Children that are to be there.
    pub children: Vec<ChildSpec>,
    /// About the data path.
    pub options: Options,
    /// What holds at first of the options that are left out.
    pub at_first: OptionValues,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What children may do of whom `children` says nothing.
    pub policies: Policies,
    /// Somebody goes on to follow the master: what is not known yet will be.
    pub follows: bool,
    /// Delete children of ours that are not among `children`: `apply` alone does.
    pub prune: bool,
    /// The master may be down: what is attached serves it when it comes up.
    pub may_be_down: bool,
}
