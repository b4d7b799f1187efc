//! Programs that take frames past the network stack, by AF_XDP sockets on a port: one that was handed over, and DPDK.

mod client;
mod dpdk;
mod echo;
mod hand_over;
mod hostile;
mod plugin;
mod server;
