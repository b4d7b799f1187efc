//! The programs on a macvlan master: XDP demultiplexer, TC ingress, TC egress; on its flood device; on the
//! devices of ports, of children that are held to their MACs or list those of others, and on those of the host's own.
//!
//! Each entry point reads a frame's facts, asks [`decide`](macvlan_common::decide::decide), charges
//! the counters and acts; nothing here judges. Build with `cargo xtask build-ebpf`: for any
//! other target than BPF this is an empty program, so that the workspace still builds.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// The target has no compare-and-swap, so `core::sync::atomic` leaves out its additions too.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics), allow(internal_features))]

#[cfg(target_arch = "bpf")]
mod account;
#[cfg(target_arch = "bpf")]
mod child;
#[cfg(target_arch = "bpf")]
mod ear;
#[cfg(target_arch = "bpf")]
mod flood;
#[cfg(target_arch = "bpf")]
mod global;
#[cfg(target_arch = "bpf")]
mod guard;
#[cfg(target_arch = "bpf")]
mod limits;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod neigh;
#[cfg(target_arch = "bpf")]
mod own;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod port;
#[cfg(target_arch = "bpf")]
mod presence;
#[cfg(target_arch = "bpf")]
mod rate;
#[cfg(target_arch = "bpf")]
mod single_mac;
#[cfg(target_arch = "bpf")]
mod skb;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod storm;
#[cfg(target_arch = "bpf")]
mod tc;
#[cfg(target_arch = "bpf")]
mod trace;
#[cfg(target_arch = "bpf")]
mod xdp;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// The licenses that the kernel reads; "Dual MIT/GPL" admits GPL-only helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
