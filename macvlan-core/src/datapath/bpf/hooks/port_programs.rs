//! The programs on the devices of ports. They need no data path: without one, a port is what a macvlan is without us.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TcAttachType},
};
use macvlan_common::names;

use crate::{
    datapath::bpf::{
        hooks::{
            refusal::{flat, refused},
            tc::{PRIORITY_EGRESS, PRIORITY_INGRESS, add_clsact, attach_filter},
        },
        load::no_maps,
        object::{keep_rings_small, object},
    },
    kernel::program::allow_memory,
};

/// The two programs, loaded.
pub struct PortPrograms(Ebpf);

impl PortPrograms {
    /// Loads them. They use no map: those of the object are made as small as can be, and go again.
    ///
    /// # Errors
    ///
    /// The process lacks a capability, or the kernel takes no such programs.
    pub fn load() -> Result<Self> {
        Self::load_both().context("a port needs BPF, which is unavailable; kind=macvlan needs none")
    }

    fn load_both() -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for name in names::MAPS.into_iter().filter(|name| ![names::FILTER, names::INDEX].contains(name)) {
            loader.map_max_entries(name, 1);
        }
        keep_rings_small(&mut loader);
        allow_memory();
        let mut object = loader.load(object()).map_err(|error| no_maps(&error))?;
        for name in [names::PORT_INGRESS, names::PORT_EGRESS] {
            let program = classifier(&mut object, name)?;
            program.load().map_err(|error| refused(name, &error))?;
        }
        Ok(Self(object))
    }

    /// Puts them on a device of this name, which has none yet. They are filters, as on flood
    /// devices: they go with the device and need no pin.
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel knows no clsact qdisc or no BPF filters.
    pub fn put(&mut self, device: &str) -> Result<()> {
        add_clsact(device)?;
        let hooks = [
            (names::PORT_INGRESS, TcAttachType::Ingress, PRIORITY_INGRESS),
            (names::PORT_EGRESS, TcAttachType::Egress, PRIORITY_EGRESS),
        ];
        for (name, hook, priority) in hooks {
            attach_filter(classifier(&mut self.0, name)?, device, hook, priority)?;
        }
        Ok(())
    }
}

fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = object.program_mut(name).context("no such program in the object")?;
    program.try_into().map_err(|error| anyhow!("program {name}: {}", flat(&error)))
}
