//! One MAC on the wire of a real Wi-Fi station: `hostapd` and `wpa_supplicant` on radios that the kernel simulates.
//!
//! Run on Debian's kernels by `cargo xtask vm-test --suite wifi`.

mod addresses;
mod air;
mod docker;
mod plain;
mod radios;
mod reassociation;
mod scene;
mod talk;
