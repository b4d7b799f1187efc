//! Whether the programs may ask which network namespace the socket behind a frame is of.

use std::sync::LazyLock;

use aya::{
    EbpfLoader,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use macvlan_common::names;

use crate::kernel::netns::Netns;

/// Lets them ask where the kernel answers.
pub fn let_ask(loader: &mut EbpfLoader<'_>) {
    if can_be_asked() {
        loader.override_global(names::ASKS_SOCKETS, &1_u64, true);
    }
}

/// The cookie of the namespace of the calling thread, where sockets can be asked for theirs.
pub fn home() -> Option<u64> {
    can_be_asked().then(Netns::current_cookie).flatten()
}

/// Whether the kernel answers at TC egress (since 6.15). It is tried once: a kernel stays what it is.
fn can_be_asked() -> bool {
    static ANSWERS: LazyLock<bool> = LazyLock::new(|| {
        let helper = BpfHelper::BPF_FUNC_get_netns_cookie;
        is_helper_supported(ProgramType::SchedClassifier, helper).unwrap_or(false)
    });
    *ANSWERS
}
