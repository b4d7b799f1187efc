//! Packs the BPF object for the programs to hold.

use std::{env, fs, io, path::PathBuf};

use miniz_oxide::deflate::compress_to_vec;

const OBJECT: &str = "bpf/macvlan.bpfel.o";

/// The most that the library tries: a build waits a moment, once.
const LEVEL: u8 = 10;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={OBJECT}");
    println!("cargo::rerun-if-changed=build.rs");
    let packed = compress_to_vec(&fs::read(OBJECT)?, LEVEL);
    let directory = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(directory.join("macvlan.bpfel.o.deflate"), packed)
}
