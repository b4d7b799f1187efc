//! STATUS: whether an ADD could be served.

use macvlan_core::{datapath::bpf::probe, kernel::netlink::Netlink};

use crate::{
    config::OnMissingBpf,
    error::{CniError, CniResult, code},
    request::Verb,
    site,
    task::Task,
};

/// Says whether an ADD could be served.
///
/// # Errors
///
/// Code 51 when the master is gone, and its containers with it; 50 when the plugin that
/// manages addresses is missing, or the programs that the network is not to be without. The other
/// plugin's own, when it cannot serve.
pub fn status(task: &Task<'_>) -> CniResult<()> {
    let unavailable = |code: u32| {
        move |error: CniError| CniError::new(code, "no container can be attached").with_details(error)
    };
    if !task.config.link_in_container {
        let found = task.runtime.block_on(async { site::master(&Netlink::open()?, &task.config).await });
        found.map_err(unavailable(code::LIMITED_CONNECTIVITY))?;
    }
    if task.config.wants_data_path() && task.config.on_missing_bpf == OnMissingBpf::Fail {
        probe(probe::Depth::Whole).map_err(|error| unavailable(code::NOT_AVAILABLE)(error.into()))?;
    }
    let Some(ipam) = task.ipam().map_err(unavailable(code::NOT_AVAILABLE))? else { return Ok(()) };
    if ipam.speaks(task.version) { ipam.call(Verb::Status, None) } else { Ok(()) }
}
