//! The clsact qdisc and the BPF filters on it.

use anyhow::{Context, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};

use crate::kernel::netlink::Netlink;

/// `TC_H_CLSACT` with its two hooks (`include/uapi/linux/pkt_sched.h`).
const CLSACT: u32 = 0xffff_fff1;

const INGRESS: u32 = 0xffff_fff2;

const EGRESS: u32 = 0xffff_fff3;

/// A hook of the qdisc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Packets coming up.
    Ingress,
    /// Packets going down.
    Egress,
}

/// A filter on one of the hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Where.
    pub hook: Direction,
    /// Lower runs earlier.
    pub priority: u16,
    /// Its handle within the priority.
    pub handle: u32,
    /// Its BPF program, where it has one.
    pub program: Option<u32>,
}

impl Netlink {
    /// Filters on both hooks of a device's clsact qdisc.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn clsact_filters(&self, index: u32) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        for (hook, parent) in [(Direction::Ingress, INGRESS), (Direction::Egress, EGRESS)] {
            let message = message(index, parent);
            let objects = self.dump(RouteNetlinkMessage::GetTrafficFilter(message)).await;
            for object in objects.context("cannot list TC filters")? {
                if let RouteNetlinkMessage::NewTrafficFilter(filter) = object {
                    filters.extend(parse(hook, &filter));
                }
            }
        }
        Ok(filters)
    }

    /// Whether a device has a clsact qdisc.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub async fn has_clsact(&self, index: u32) -> Result<bool> {
        let message = message(index, 0);
        let objects = self.dump(RouteNetlinkMessage::GetQueueDiscipline(message)).await;
        let is_clsact = |object: &RouteNetlinkMessage| match object {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
                qdisc.header.index == index as i32
                    && qdisc.attributes.contains(&TcAttribute::Kind("clsact".into()))
            }
            _ => false,
        };
        Ok(objects.context("cannot list queueing disciplines")?.iter().any(is_clsact))
    }

    /// Removes one filter; that it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The device or the filter is gone.
    pub async fn delete_filter(&self, index: u32, filter: &Filter) -> Result<()> {
        const ETH_P_ALL: u32 = 0x0003;
        let parent = if filter.hook == Direction::Ingress { INGRESS } else { EGRESS };
        let mut message = message(index, parent);
        message.header.handle = filter.handle.into();
        message.header.info = u32::from(filter.priority) << 16 | u32::from((ETH_P_ALL as u16).to_be());
        message.attributes.push(TcAttribute::Kind("bpf".into()));
        match self.change(RouteNetlinkMessage::DelTrafficFilter(message), 0).await {
            Err(error) if super::kernel_errno(&error) == Some(nix::errno::Errno::ENOENT) => Ok(()),
            other => other.context("cannot remove a TC filter"),
        }
    }

    /// Removes a device's clsact qdisc.
    ///
    /// # Errors
    ///
    /// The device or the qdisc is gone.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let mut message = message(index, CLSACT);
        message.header.handle = TcHandle { major: 0xffff, minor: 0 };
        message.attributes.push(TcAttribute::Kind("clsact".into()));
        let deleted = self.change(RouteNetlinkMessage::DelQueueDiscipline(message), 0).await;
        deleted.context("cannot remove the clsact qdisc")
    }
}

fn message(index: u32, parent: u32) -> TcMessage {
    let header = TcHeader { index: index as i32, parent: parent.into(), ..TcHeader::default() };
    TcMessage::from_parts(header, Vec::new())
}

fn parse(hook: Direction, message: &TcMessage) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    let priority = (message.header.info >> 16) as u16;
    // The kernel also reports each priority's head, which has no handle and no options.
    if handle == 0 {
        return None;
    }
    let program = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(bpf_id),
        _ => None,
    });
    Some(Filter { hook, priority, handle, program })
}

fn bpf_id(option: &TcOption) -> Option<u32> {
    match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    }
}
