//! The socket that a frame was sent by.

use aya_ebpf::{Global, helpers::bpf_get_netns_cookie};
use macvlan_common::{port::port_of, socket::writes_macs};

use crate::{
    global::{__sk_buff, context_of},
    skb,
};

/// Not 0: the kernel has the helper at TC egress. Where it is 0, the verifier never gets to the call.
#[unsafe(no_mangle)]
static MACVLAN_ASKS: Global<u64> = Global::new(0);

/// Gives 1 for a frame whose MACs were written by a socket of another network namespace than the one with this cookie, or
/// that came out of a port.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn macvlan_foreign(skb: *mut __sk_buff, home: u64) -> i32 {
    if MACVLAN_ASKS.load() == 0 {
        return 0;
    }
    let ctx = &context_of(skb);
    // Between the namespaces, what came out of a port has lost its socket.
    if port_of(skb::ingress_ifindex(ctx)).is_some() {
        return 1;
    }
    let Some(family) = skb::socket_family(ctx) else { return 0 };
    // SAFETY: the helper reads the context that the program was called with.
    i32::from(writes_macs(family) && unsafe { bpf_get_netns_cookie(ctx.skb.skb.cast()) } != home)
}
