//! The BPF object, and what the kernel is to allow before it is loaded.

use std::sync::LazyLock;

use aya::EbpfLoader;
use macvlan_common::names;
use miniz_oxide::inflate::decompress_to_vec;
use sha2::{Digest as _, Sha256};

/// The object that `cargo xtask build-ebpf` makes, as `build.rs` packs it: a quarter of its size.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/macvlan.bpfel.o.deflate"));

/// The ring buffer of messages that aya-log writes to.
const MESSAGES: &str = "AYA_LOGS";

/// The object.
pub fn object() -> &'static [u8] {
    #[cfg(debug_assertions)]
    if let Some(other) = substitute::object() {
        return other;
    }
    static OBJECT: LazyLock<Vec<u8>> =
        LazyLock::new(|| decompress_to_vec(PACKED).expect("what was packed at build time"));
    &OBJECT
}

/// Tells the object from that of another version: SHA-256 of it as it is packed, in hexadecimal. Nearly
/// every command asks, and few need the object itself.
pub fn digest() -> String {
    #[cfg(debug_assertions)]
    if let Some(other) = substitute::object() {
        return hexadecimal(other);
    }
    hexadecimal(PACKED)
}

fn hexadecimal(object: &[u8]) -> String {
    Sha256::digest(object).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives the rings of the traced programs one page each, the kernel's least: without a trace nobody
/// writes to them.
pub fn keep_rings_small(loader: &mut EbpfLoader<'_>) {
    loader.map_max_entries(MESSAGES, 1).map_max_entries(names::TRACE_RING, 1);
}

/// Another object in its place, for tests of what the verifier refuses. No release has this.
#[cfg(debug_assertions)]
mod substitute {
    use std::{env, fs, sync::OnceLock};

    /// Names a file.
    const VARIABLE: &str = "MACVLAN_CTL_TEST_OBJECT";

    pub fn object() -> Option<&'static [u8]> {
        static SUBSTITUTE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        SUBSTITUTE.get_or_init(|| fs::read(env::var_os(VARIABLE)?).ok()).as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_comes_out_as_it_went_in() {
        assert_eq!(object(), include_bytes!("../../../bpf/macvlan.bpfel.o"));
        assert_eq!(digest().len(), 64);
    }
}
