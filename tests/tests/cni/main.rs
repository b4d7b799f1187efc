//! The CNI plugin, called as runtimes call it, beside the reference plugins.

mod addresses;
mod clients;
mod errors;
mod leftovers;
mod many;
mod verbs;
