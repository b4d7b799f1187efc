//! The programs made ready beside other work. Reading the kernel's BTF, as aya does, and having the programs
//! judged takes longer than all else that an attach to a few children does, and depends on none of it.

use std::thread::{self, JoinHandle};

use anyhow::Result;
use aya::Ebpf;

use crate::datapath::bpf::{
    hooks::tc::{Hooks, Variant},
    load::load_new,
};

/// The programs for a master that has none yet: loaded with maps of their own, pinned and attached nowhere,
/// so that they vanish unless they are [installed](crate::datapath::bpf::attached::Bpf::install).
pub struct Prepared {
    max_children: u32,
    single: bool,
    thread: Option<JoinHandle<Result<Ebpf>>>,
}

impl Prepared {
    /// Begins to make them ready, with room for so many children; those for a wire that carries one MAC, or the
    /// usual ones.
    pub fn begin(max_children: u32, single: bool) -> Self {
        let begun = move || prepare(max_children, single);
        let thread = thread::Builder::new().name("programs".into()).spawn(begun);
        Self { max_children, single, thread: thread.ok() }
    }

    /// Whether they are those for a wire that carries one MAC.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// How many children there is room for.
    pub fn max_children(&self) -> u32 {
        self.max_children
    }

    /// The programs, once they are ready.
    ///
    /// # Errors
    ///
    /// The process lacks a capability, the maps do not fit the memory it may lock, or the verifier refuses a
    /// program.
    pub fn object(self) -> Result<Ebpf> {
        match self.thread.map(JoinHandle::join) {
            Some(Ok(prepared)) => prepared,
            // There may be no more threads.
            _ => prepare(self.max_children, self.single),
        }
    }
}

fn prepare(max_children: u32, single: bool) -> Result<Ebpf> {
    let mut object = load_new(max_children)?;
    Hooks::verify(&mut object, Variant { single, traced: false })?;
    Ok(object)
}
