//! What a verb works with.

use macvlan_core::kernel::lock::Lock;
use tokio::runtime::Runtime;

use crate::{
    config::Config,
    error::{CniError, CniResult, code},
    ipam::Ipam,
    request::{Invocation, Target},
    version::Version,
};

/// Everything that a verb works with.
pub struct Task<'a> {
    /// The request as it came.
    pub request: &'a Invocation,
    /// The network.
    pub config: Config,
    /// The version that results are to have.
    pub version: Version,
    /// Where kernel requests are awaited. Other plugins run outside of it.
    pub runtime: Runtime,
    /// Held by an ADD or a DEL and by the plugins that it runs, so that one waits for what a killed one
    /// began.
    pub attachment: Option<Lock>,
}

impl Task<'_> {
    /// For whom: of a verb that has somebody.
    ///
    /// # Errors
    ///
    /// Code 4 when there is nobody.
    pub fn target(&self) -> CniResult<&Target> {
        let nobody = || CniError::new(code::INVALID_ENVIRONMENT, "CNI_CONTAINERID is not set");
        self.request.target.as_ref().ok_or_else(nobody)
    }

    /// The plugin that manages the network's addresses, where it has one.
    ///
    /// # Errors
    ///
    /// Code 7 when there is no such plugin.
    pub fn ipam(&self) -> CniResult<Option<Ipam<'_>>> {
        self.config
            .ipam
            .as_deref()
            .map(|name| Ipam::find(name, self.request, self.attachment.as_ref()))
            .transpose()
    }
}
