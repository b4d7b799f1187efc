//! XDP on the master.

use super::parties::{From, Tables, To, may_be_local, receiver};
use crate::{
    config::Config,
    counters::{FloodOrigin, Path},
    frame::Frame,
    verdict::{Action, Total, Verdict},
};

/// XDP judges what certainly comes from outside. A local source MAC means a hairpinned frame
/// (generic XDP), a direct sibling frame (generic XDP) or a reflected one: TC ingress tells them
/// apart by our tag, which XDP cannot see.
#[inline(always)]
pub(super) fn xdp<T: Tables>(frame: Frame, tables: &T) -> Verdict<T::Child> {
    let config = tables.config();
    let (from, (to, target)) = if !may_be_local(frame.src, tables, &config) {
        (From::Outside, receiver(frame.dst, tables, &config))
    } else if config.xdp_is_native() && config.distrusts_wire() && is_guarded(frame.src, tables, &config) {
        (From::Forger, (To::Nobody, None))
    } else {
        (From::Child, (To::Nobody, None))
    };
    let pass = Verdict::new(Action::Pass);
    match (from, to) {
        (From::Forger, _) => Verdict::new(Action::DropSpoofed),
        (From::Host | From::Child | From::Claimed, _) => Verdict::new(Action::Defer),
        (From::Outside, To::All) => pass.total(Total::Flood(FloodOrigin::Wire)),
        (From::Outside, To::Host) => pass,
        (From::Outside, To::Nobody) => Verdict::unknown_at_xdp(&config),
        (From::Outside, _) => pass.rx(target, Path::Wire),
    }
}

/// Whether nobody on the wire may use this MAC: the host's, or that of a child held to its own.
#[inline(always)]
fn is_guarded<T: Tables>(mac: u64, tables: &T, config: &Config) -> bool {
    mac == config.master || tables.local(mac).is_some_and(|(_, policy)| policy.is_guarded())
}
