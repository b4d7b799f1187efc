//! XDP on the device of a child in mode source.

use super::Tables;
use crate::{frame::Frame, mac::is_group};

/// Whether a frame that comes up on the device of the child `own` is a copy of what the host or another child sends to
/// somebody else: in mode source, the driver gives a child what bears the MACs on its list, for whomever it is.
#[inline(always)]
pub fn overhears<T: Tables>(frame: Frame, own: u64, tables: &T) -> bool {
    let is_for_others = !is_group(frame.dst) && frame.dst != own;
    is_for_others && (frame.src == tables.config().master || tables.child(frame.src).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cases::{HOST, World},
        mac::Mac,
        tag::Sender,
    };

    #[test]
    fn only_what_is_here_and_for_another_is_overheard() {
        let world = World::mixed();
        let (one, other) = (world.children[0].mac, world.children[1].mac);
        let (own, wire) = (Mac::new([2, 0, 0, 0, 9, 1]), Mac::new([2, 0, 0, 0, 9, 2]));
        let hears = |src: Mac, dst: Mac| {
            let frame = Frame { dst: dst.key(), src: src.key(), sender: Sender::Unknown, to_host: false };
            overhears(frame, own.key(), &world)
        };
        assert!(hears(HOST, one) && hears(one, other) && hears(one, HOST) && hears(HOST, wire));
        for (src, dst) in [(HOST, own), (one, own), (HOST, Mac::BROADCAST), (wire, one), (wire, HOST)] {
            assert!(!hears(src, dst), "{src} to {dst}");
        }
    }
}
