//! What tells the children that we made from others, kept in step with where they are.

use crate::{
    discovery::access::Access,
    kernel::{
        marks::{Mark, Marks},
        netlink::events::changed::DeviceKey,
    },
    model::child::Child,
};

/// Reads marks and, for who changes anything, keeps them.
///
/// An event tells of a device by the number of its namespace, which another may have once that is gone, and who has
/// given its privileges away cannot ask the namespace itself. So a mark goes with its device, and has its MAC.
#[derive(Debug, Default)]
pub struct MarkKeeper {
    marks: Marks,
    keeps: bool,
}

impl MarkKeeper {
    /// One for masters in the namespace of the calling thread.
    pub fn open(access: Access) -> Self {
        Self { marks: Marks::open().unwrap_or_default(), keeps: access == Access::Change }
    }

    /// Tells whether a child is ours: it is if the same device was so `before`, or if it is marked.
    pub fn prove(&self, master: u32, child: &mut Child, before: Option<&Child>) {
        child.prove(&self.marks, master, None);
        let Some(before) = before.filter(|before| child.place.nsid.is_some() && before.is_ours()) else {
            return;
        };
        child.owned = before.owned;
        child.attachment.clone_from(&before.attachment);
        if self.keeps
            && before.mac != child.mac
            && let Some(mark) = self.marks.of(child.key()).filter(|mark| mark.mac == before.mac)
        {
            // A mark that cannot be made now is made by the next command that looks into its namespace.
            let _ = self.marks.set(child.key(), &Mark { mac: child.mac, ..mark });
        }
    }

    /// A child leaves for another namespace.
    pub fn carry(&self, master: u32, child: &Child, to: DeviceKey) {
        if let Some(maker) = child.maker().filter(|_| self.keeps) {
            let mark = Mark { namespace: None, master, mac: child.mac, maker };
            // Where it cannot be made, the child has to be named there.
            let _ = self.marks.set(to, &mark);
        }
    }

    /// A child is gone: its numbers may be used again.
    pub fn forget(&self, child: &Child) {
        let is_its_own = |mark: &Mark| mark.mac == child.mac;
        if self.keeps && child.is_ours() && self.marks.of(child.key()).as_ref().is_some_and(is_its_own) {
            // One that stays is removed by the next command.
            let _ = self.marks.remove(child.key());
        }
    }
}
