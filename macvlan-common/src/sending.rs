//! What two programs on the macvlan driver say of each processor, where a master is strict: whether one of the master's
//! macvlan devices sends there at this moment. Whatever macvlan sends, by whatever socket, passes these; nothing of the
//! host's own stack does.
//!
//! The driver hands a frame on to its master before its function returns, and nothing comes between on a processor
//! (`macvlan_start_xmit` in drivers/net/macvlan.c runs with softirqs off).

use core::mem::offset_of;

/// One processor's word. The program before the driver's function sets it, the one behind clears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Sending {
    /// 1 while a macvlan of this master sends.
    pub now: u64,
    /// Address of the master's device in the kernel, once the program has seen it: so it looks at no more of later
    /// frames.
    pub lower: u64,
}

/// Where [`Sending::now`] is.
pub const NOW: i16 = offset_of!(Sending, now) as i16;

/// Where [`Sending::lower`] is.
pub const LOWER: i16 = offset_of!(Sending, lower) as i16;
