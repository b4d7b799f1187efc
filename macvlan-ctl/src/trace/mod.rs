//! `trace`: what the data path does with each frame, as it does it.
//!
//! A trace replaces the programs by their traced twins and puts the programs back when it ends.
//! [`Trace`] is the one half, for the caller's event loop; [`Events`] the other, for a thread that may
//! block on its output.

pub mod capture;
pub mod decode;
pub mod event;
pub mod reader;

use anyhow::{Context, Result, anyhow, bail};
use macvlan_core::{
    datapath::Datapath as _,
    datapath::bpf::{
        attached::{Bpf, Found},
        trace::{TraceWatch, Traced, Tracing},
    },
    discovery::{
        access::Access,
        locked_master::LockedMaster,
        masters::{find_master, master_of_link},
        named_child::find_named,
    },
    kernel::{lock::Lock, netlink::Netlink},
    model::{child_name::ChildName, master::Master},
};

use crate::trace::reader::Reader;

pub use crate::trace::{
    capture::{Capture, SNAP_LEN},
    decode::summary,
    event::{Event, Names},
    reader::Events,
};

/// What to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRequest {
    /// Only frames from or to this child.
    pub child: Option<ChildName>,
    /// One frame in so many, on each CPU; at least 1.
    pub sample: u32,
}

/// A running trace.
///
/// Dropped without [`stop`](Self::stop), it leaves the traced programs; the next attach replaces them.
pub struct Trace {
    master: Master,
    traced: Traced,
    watch: TraceWatch,
    reader: Reader,
    _lock: Lock,
}

/// What came of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records that the programs made, or tried to.
    pub recorded: u64,
    /// Those of them that found no room on their way here.
    pub lost: u64,
    /// Messages of the programs.
    pub messages: Vec<String>,
}

impl Trace {
    /// Begins to trace the master named `name` in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When it has no data path or no such child, or another trace of it runs; nothing is changed then.
    pub async fn start(name: &str, request: &TraceRequest) -> Result<(Self, Events)> {
        Self::start_unnamed(name, request).await.with_context(|| format!("cannot trace {name:?}"))
    }

    async fn start_unnamed(name: &str, request: &TraceRequest) -> Result<(Self, Events)> {
        // Before the master's own lock, which is not to be held while a trace waits for another.
        let netlink = Netlink::open()?;
        let master = find_master(&netlink, name).await?;
        let lock = Lock::take_for_trace(&master.key, &master.name).await?;
        let locked = LockedMaster::open(name, Access::Change).await?;
        let only = match &request.child {
            Some(child) => {
                let found = find_named(&locked, child, None).await;
                Some(found.with_context(|| format!("cannot find child {:?}", child.as_str()))?.mac)
            }
            None => None,
        };
        let (mac, children) = (locked.master.mac, locked.children().to_vec());
        let (master, attached, held) = locked.into_parts();
        let mut bpf = attached.map_err(|reason| anyhow!(reason))?;
        let names = Names::new(mac, &children, bpf.description().single_mac);
        let tracing = Tracing { only, sample: request.sample };
        let mut traced = bpf.start_trace(&master, tracing).await?;
        let reader = Reader::start(&mut traced.object, names);
        let (reader, events) = match reader {
            Ok(started) => started,
            Err(error) => {
                bpf.end_trace(&master).await?;
                return Err(error);
            }
        };
        drop(held);
        let watch = bpf.trace_watch();
        Ok((Self { master, traced, watch, reader, _lock: lock }, events))
    }

    /// Whether the traced programs are still in place: a detach takes them off, and an attach may
    /// replace them. Nothing more comes then.
    pub fn is_in_place(&self) -> bool {
        self.watch.is_traced()
    }

    /// Puts the programs back and reads what is left. The [`Events`] end then.
    ///
    /// # Errors
    ///
    /// When the programs cannot be put back.
    pub async fn stop(self) -> Result<Summary> {
        let name = self.master.name.clone();
        self.stop_unnamed().await.with_context(|| format!("cannot end the trace of {name:?}"))
    }

    async fn stop_unnamed(self) -> Result<Summary> {
        let back = self.put_back().await;
        let read = self.reader.stop();
        back?;
        let (read, recorded) = (read?, self.traced.recorded()?);
        Ok(Summary { recorded, lost: recorded.saturating_sub(read.received), messages: read.messages })
    }

    async fn put_back(&self) -> Result<()> {
        if !self.watch.is_traced() {
            return Ok(());
        }
        let netlink = Netlink::open()?;
        // It may have another name by now.
        let Some(link) = netlink.link_by_index(self.master.index, None).await? else { return Ok(()) };
        let master = master_of_link(&netlink, link).await?;
        let _held = Lock::take(&master.key, &master.name).await?;
        match Bpf::find(&netlink, &master).await {
            Found::Whole(mut bpf) => bpf.end_trace(&master).await,
            Found::Nothing => Ok(()),
            Found::Broken(reason) => bail!("{reason}; to repair it: macvlan-ctl attach {}", master.name),
        }
    }
}
