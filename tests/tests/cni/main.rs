//! The CNI plugin, called as runtimes call it, beside the reference plugins.

mod addresses;
mod clients;
mod errors;
mod flood;
mod guards;
mod image;
mod keys;
mod leftovers;
mod manifests;
mod many;
mod node;
mod pods;
mod ports;
mod reference;
mod topologies;
mod vanished;
mod verbs;
