//! What the tests of macvlan-ctl are built from: namespaces, devices, frames and counts.
//!
//! A [`lab::Lab`] is a host with a macvlan master, a wire behind it, and children, each in a
//! network namespace that has no name and dies with its last file descriptor; pins, named
//! namespaces and locks live in a mount namespace of the lab's own. A test that fails, or is
//! killed, leaves nothing behind.
//!
//! * [`lab`], [`station`], [`netns`], [`mounts`]: where the devices live.
//! * [`attached`], [`cli`], [`control`], [`following`], [`tracer`]: the product, run as a user runs it.
//! * [`port`], [`xsk_server`], [`testpmd`]: programs that take frames past the network stack.
//! * [`attacker`]: a container that turns against the host.
//! * [`cni`]: its CNI plugin, called as runtimes call it.
//! * [`engine`]: real container engines; [`fake_engine`]: one that says what a test wants; [`package`]: what is installed.
//! * [`conversation`], [`crowd`], [`departure`], [`frames`], [`sniff`], [`stream`], [`talk`], [`tap`]:
//!   traffic, and who saw it; [`servers`]: what routers and DHCP servers say; [`dhcp`]: real ones, and clients;
//!   [`daemon`]: what runs beside a test.
//! * [`progs`], [`contexts`], [`direct`]: the BPF programs without the product's own loader; [`foreign`],
//!   [`handwritten`]: those of others.
//! * [`exporter`], [`http`], [`dashboard`]: the metrics, who asks for them, and what is made of them.
//! * [`deny`]: machines that refuse something; [`leak`], [`snapshot`]: what the kernel holds of
//!   ours; [`require`]: what the tests need.

pub mod attached;
pub mod attacker;
pub mod claim;
pub mod cli;
pub mod cni;
pub mod contexts;
pub mod control;
pub mod conversation;
pub mod crowd;
pub mod daemon;
pub mod dashboard;
pub mod deny;
pub mod departure;
pub mod dhcp;
pub mod direct;
pub mod engine;
pub mod exporter;
pub mod fail;
pub mod fake_engine;
pub mod flood;
pub mod following;
pub mod footprint;
pub mod foreign;
pub mod generator;
pub mod handwritten;
pub mod http;
pub mod lab;
pub mod leak;
pub mod measure;
pub mod mounts;
pub mod netns;
pub mod one_mac_port;
pub mod package;
pub mod port;
pub mod progs;
pub mod require;
pub mod rng;
pub mod servers;
pub mod snapshot;
pub mod sniff;
pub mod station;
pub mod stats;
pub mod stream;
pub mod talk;
pub mod tap;
pub mod testpmd;
pub mod topologies;
pub mod tracer;
pub mod xsk_server;

pub use macvlan_bench::lab::frames;
