//! Puts the programs on a master.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};
use macvlan_common::ABI_VERSION;

use crate::{
    datapath::bpf::{
        attached::Bpf,
        clean_up::take_off,
        describe::{OnMaster, describe, guard_flags},
        directory::{BUILDING, CLSACT_MARK, directory},
        hooks::{
            pinned,
            tc::{Hooks, Variant},
        },
        load::pin_maps,
        maps::tables::Maps,
        object,
        prepare::Prepared,
        record::Record,
    },
    kernel::{
        bpffs::{self, Lifetime},
        crash,
        netlink::Netlink,
    },
    model::{
        description::{Degraded, Demux, Hairpin},
        master::Master,
        members::Members,
        options::OptionValues,
    },
};

impl Bpf {
    /// Puts these programs on `master`, with these options and these children.
    ///
    /// # Errors
    ///
    /// When the machine cannot do it; nothing is left then.
    pub async fn install(
        prepared: Prepared,
        netlink: &Netlink,
        master: &Master,
        options: OptionValues,
        members: &Members,
    ) -> Result<Self> {
        let (root, lifetime) = bpffs::prepare()?;
        let building = root.join(format!("{}{BUILDING}", master.key));
        bpffs::remove_directory(&building)?;
        let built = Self::build(prepared, netlink, master, options, members, &building, &lifetime).await;
        let directory = directory(master);
        let whole = built.and_then(|(maps, record, on_master)| {
            fs::rename(&building, &directory).with_context(|| format!("cannot rename {building:?}"))?;
            crash::point("naming a pin directory whole")?;
            let description = describe(&record, &maps, &members.policies, &directory, &on_master)?;
            let (directory, netlink, members) = (directory.clone(), netlink.clone(), members.clone());
            let is_new_to_wire = record.single;
            let renewed = false;
            Ok(Self {
                directory,
                maps,
                record,
                members,
                description,
                netlink,
                renewed,
                is_new_to_wire,
                on_master,
                totals: BTreeMap::new(),
            })
        });
        if whole.is_err() {
            let left = if fs::exists(&building).unwrap_or(true) { &building } else { &directory };
            take_off(netlink, master, left).await?;
            bpffs::remove_root();
        }
        whole
    }

    async fn build(
        prepared: Prepared,
        netlink: &Netlink,
        master: &Master,
        options: OptionValues,
        members: &Members,
        building: &Path,
        lifetime: &Lifetime,
    ) -> Result<(Maps, Record, OnMaster)> {
        fs::create_dir_all(building).with_context(|| format!("cannot make {building:?}"))?;
        crash::point("making a pin directory")?;
        let single = prepared.is_single();
        let mut object = prepared.object()?;
        pin_maps(&object, building)?;
        crash::point("pinning the maps")?;
        let mut maps = Maps::open(building)?;
        maps.draw_secrets()?;
        maps.set_directs(options.directed_neigh)?;
        maps.set_storm_limit(options.storm_limit.per_second())?;
        let mut record = Record {
            abi: ABI_VERSION,
            object: object::digest(),
            options,
            demux: Demux::Tc,
            hairpin: Hairpin::Off,
            owns_clsact: false,
            netns_inode: master.netns.id().inode(),
            degraded: Vec::new(),
            single,
            lean: false,
            flood: None,
            marks: true,
        };
        maps.set_guard(guard_flags(&record, &members.policies))?;
        let _ = maps.sync(master, members)?;
        let mut hooks = Hooks::pin(&mut object, building, Variant { single, traced: false })?;
        let (hairpin, reason) = hooks
            .attach_tc(netlink, master, options.tc, |owns_clsact| {
                record.owns_clsact = owns_clsact;
                if owns_clsact {
                    mark_clsact(building)?;
                }
                maps.write_record(&record.to_text()?)
            })
            .await?;
        maps.set_attached()?;
        record.hairpin = hairpin;
        record.degraded.extend(reason);
        let (demux, reason) = hooks.attach_xdp(master, options.xdp, &mut maps)?;
        record.demux = demux;
        record.degraded.extend(reason);
        if *lifetime == Lifetime::MountNamespace {
            record.degraded.push(Degraded::new(
                "pins",
                "machine",
                "mount namespace",
                "the BPF file system had to be mounted in a mount namespace that ends with this session: \
                 so will the data path",
            ));
        }
        maps.write_record(&record.to_text()?)?;
        // Seen where they are, not taken for granted.
        let degraded = pinned::verify(netlink, building, master, &record).await?;
        Ok((maps, record, OnMaster::of(master, degraded)))
    }
}

/// Says that the clsact qdisc is ours to whoever cannot read the record, for bpf(2) is refused. The
/// BPF file system has no plain files, but links.
fn mark_clsact(directory: &Path) -> Result<()> {
    let mark = directory.join(CLSACT_MARK);
    symlink("ours", &mark).with_context(|| format!("cannot make {mark:?}"))
}
