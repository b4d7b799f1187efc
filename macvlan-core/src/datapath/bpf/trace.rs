//! Traced twins in the place of the programs, and the programs back.
//!
//! The record says that programs are traced before the first of them is: whoever finds them after a
//! killed trace replaces them as programs of another version.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use macvlan_common::{mac::Mac, names, trace::TraceCounts};

use crate::{
    datapath::bpf::{
        attached::Bpf,
        hooks::tc::{Hooks, Variant},
        load::{load_object, loader, no_maps},
        maps::tables,
        object::{self, keep_rings_small},
        record::{Record, TRACED},
        sockets::let_ask,
        traced::runs,
    },
    model::master::Master,
};

/// Bytes of the ring buffer of records: some twenty-five thousand frames.
const RING_LEN: u32 = 4 << 20;

/// What to trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracing {
    /// Only frames with this MAC as source or destination.
    pub only: Option<Mac>,
    /// One frame in so many, on each CPU; at least 1.
    pub sample: u32,
}

/// The loaded twins' own maps.
pub struct Traced {
    /// The object, with the rings of records and of messages.
    pub object: Ebpf,
    counts: PerCpuArray<MapData, TraceCounts>,
}

impl Traced {
    /// Records made so far, read or not.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn recorded(&self) -> Result<u64> {
        let shares = self.counts.get(&0, 0).context("cannot read how many records were made")?;
        Ok(shares.iter().fold(0, |sum, share| sum.wrapping_add(share.recorded)))
    }
}

/// Sees what other commands do to traced programs.
pub struct TraceWatch {
    directory: PathBuf,
}

impl TraceWatch {
    /// Whether the programs are still the traced ones: a detach takes them off, an attach that must
    /// change more than the children replaces them.
    pub fn is_traced(&self) -> bool {
        let record = tables::read_record(&self.directory).and_then(|text| Record::from_text(&text));
        record.is_ok_and(|record| record.is_traced())
    }
}

impl Bpf {
    /// Replaces the programs by their traced twins, without a gap. That of ingress is there meanwhile, wanted or not.
    ///
    /// # Errors
    ///
    /// The programs are of another version, or the traced ones are refused; the programs are as before.
    pub async fn start_trace(&mut self, master: &Master, tracing: Tracing) -> Result<Traced> {
        if !self.record.is_of_this_version() {
            bail!(
                "its programs are of another version of macvlan-ctl; first run: macvlan-ctl attach {}",
                master.name
            );
        }
        let (sample, only) = (tracing.sample, tracing.only.map_or(0, Mac::key));
        let mut loader = loader(&self.directory);
        keep_rings_small(&mut loader);
        let_ask(&mut loader);
        loader.map_max_entries(names::TRACE_RING, RING_LEN);
        loader.override_global(names::TRACE_SAMPLE, &sample, true);
        loader.override_global(names::TRACE_MAC, &only, true);
        let mut object = loader.load(object::object()).map_err(|error| no_maps(&error))?;
        self.put_at_ingress(master)?;
        self.write_object(format!("{}{TRACED}", object::digest()))?;
        if let Err(error) = self.replace_programs(master, &mut object, true) {
            self.end_trace(master).await.context("cannot put the programs back")?;
            return Err(error);
        }
        let map = object.take_map(names::TRACE).context("no trace map in the object")?;
        Ok(Traced { object, counts: map.try_into()? })
    }

    /// Puts the programs back, without a gap; nothing is done where another command has done it.
    ///
    /// # Errors
    ///
    /// The programs cannot be put back.
    pub async fn end_trace(&mut self, master: &Master) -> Result<()> {
        if !self.record.is_traced() {
            return Ok(());
        }
        let mut object = load_object(&self.directory)?;
        self.replace_programs(master, &mut object, false)?;
        self.write_object(object::digest())?;
        self.keep_ingress(master).await
    }

    /// Where a trace sees whether the programs are still traced.
    pub fn trace_watch(&self) -> TraceWatch {
        TraceWatch { directory: self.directory.clone() }
    }

    /// Whether the programs are traced, and by somebody who lives.
    pub(crate) fn is_being_traced(&self) -> bool {
        self.record.is_traced() && self.record.is_of_this_version() && runs(&self.directory)
    }

    fn replace_programs(&self, master: &Master, object: &mut Ebpf, traced: bool) -> Result<()> {
        let mut hooks =
            Hooks::load_beside(object, &self.directory, Variant { single: self.record.single, traced })?;
        hooks.replace_tc(master, self.record.hairpin)?;
        hooks.replace_xdp(self.record.demux)
    }

    fn write_object(&mut self, object: String) -> Result<()> {
        self.record.object = object;
        self.maps.write_record(&self.record.to_text()?)
    }
}
