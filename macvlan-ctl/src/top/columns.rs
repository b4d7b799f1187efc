//! Which columns there are, and what a row has in them.

use Measure::{RxBits, RxPackets, TxBits, TxPackets};
use macvlan_common::counters::{DropReason, Path};
use macvlan_core::model::{
    known_by::short_netns, printable::printable, stats::BothWays, status::ChildStatus,
};

use crate::top::{
    model::{Row, bits},
    text::si,
};

/// What the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All paths together and, where there is room, each.
    All,
    /// One path, with what was counted in all.
    Path(Path),
    /// Drops by reason.
    Drops,
}

/// Every view, in the order of its key.
pub const VIEWS: [View; 5] =
    [View::All, View::Path(Path::Wire), View::Path(Path::Host), View::Path(Path::Sibling), View::Drops];

impl View {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all paths",
            Self::Path(path) => path.as_str(),
            Self::Drops => "drops",
        }
    }
}

/// What is counted of traffic, as the child sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Frames received.
    RxPackets,
    /// Received, bits as a rate, bytes as a total.
    RxBits,
    /// Frames sent.
    TxPackets,
    /// Sent, bits as a rate, bytes as a total.
    TxBits,
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// What people know the child by.
    Name,
    /// Its interface, in its own namespace.
    Interface,
    /// Name of its master.
    Master,
    /// Its namespace.
    Netns,
    /// Its MAC.
    Mac,
    /// Its mode.
    Mode,
    /// A rate, on one path or on all.
    Rate(Option<Path>, Measure),
    /// What was counted since the attach, on one path or on all.
    Total(Option<Path>, Measure),
    /// Drops per second, for one reason or for all.
    DropRate(Option<DropReason>),
    /// Drops since the attach, for one reason or for all.
    DropTotal(Option<DropReason>),
    /// Rates before, both ways; its order is that of the rate now.
    History,
}

/// What a row has in a column, to sort by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing is counted.
    Unknown,
    /// A number.
    Number(u64),
    /// A text, in lower case.
    Text(String),
}

impl Column {
    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Name => "CHILD",
            Self::Master => "MASTER",
            Self::Netns => "NETNS",
            Self::Interface => "IFACE",
            Self::Mac => "MAC",
            Self::Mode => "MODE",
            Self::Rate(_, RxPackets) => "RX p/s",
            Self::Rate(_, RxBits) => "RX b/s",
            Self::Rate(_, TxPackets) => "TX p/s",
            Self::Rate(_, TxBits) => "TX b/s",
            Self::Total(_, RxPackets) => "RX PKT",
            Self::Total(_, RxBits) => "RX BYT",
            Self::Total(_, TxPackets) => "TX PKT",
            Self::Total(_, TxBits) => "TX BYT",
            Self::DropRate(_) => "DROP/s",
            Self::DropTotal(_) => "DROPS",
            Self::History => "HISTORY",
        }
    }

    /// What it belongs to, for a line above the titles.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Rate(None, _) | Self::Total(None, _) => "all paths",
            Self::Rate(Some(path), _) | Self::Total(Some(path), _) => path.as_str(),
            Self::DropRate(Some(reason)) | Self::DropTotal(Some(reason)) => reason.as_str(),
            Self::DropRate(None) | Self::DropTotal(None) => "drops",
            _ => "",
        }
    }

    /// Whether it holds numbers: they stand right, and sort downwards.
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Rate(..) | Self::Total(..) | Self::DropRate(_) | Self::DropTotal(_) | Self::History
        )
    }

    /// Columns of the screen it takes: of [`Column::Name`] and [`Column::History`] the least.
    pub const fn width(self) -> u16 {
        match self {
            Self::Name => 14,
            Self::Interface => 8,
            Self::Master => 9,
            Self::Netns => 12,
            Self::Mac => 17,
            Self::Mode => 8,
            Self::History => 10,
            _ => 7,
        }
    }

    /// What a row has here, to sort by.
    pub fn value(self, row: &Row) -> Value {
        match self {
            Self::History => row
                .rate(None)
                .map_or(Value::Unknown, |both| Value::Number(bits(both.rx).saturating_add(bits(both.tx)))),
            _ if self.is_number() => self.number(row).map_or(Value::Unknown, Value::Number),
            _ => Value::Text(self.name(row).to_lowercase()),
        }
    }

    /// What a row shows here: `-` where nothing is counted, nothing for [`Column::History`].
    pub fn text(self, row: &Row) -> String {
        match self {
            Self::History => String::new(),
            _ if self.is_number() => self.number(row).map_or("-".to_owned(), si),
            _ => self.name(row),
        }
    }

    fn number(self, row: &Row) -> Option<u64> {
        match self {
            Self::Rate(path, measure) => Some(measure.of(row.rate(path)?, bits)),
            Self::Total(path, measure) => Some(measure.of(row.total(path)?, |pair| pair.bytes)),
            Self::DropRate(reason) => Some(row.drop_rate(reason)?.packets),
            Self::DropTotal(reason) => Some(row.drop_total(reason)?.packets),
            _ => None,
        }
    }

    fn name(self, row: &Row) -> String {
        match self {
            Self::Name => row.name.clone(),
            Self::Interface => printable(&row.about.ifname),
            Self::Master => printable(&row.key.master),
            Self::Netns => netns(&row.about),
            Self::Mac => row.key.mac.to_string(),
            Self::Mode => row.about.mode.to_owned(),
            _ => String::new(),
        }
    }
}

impl Measure {
    fn of(self, both: BothWays, volume: fn(macvlan_core::model::stats::Pair) -> u64) -> u64 {
        match self {
            RxPackets => both.rx.packets,
            RxBits => volume(both.rx),
            TxPackets => both.tx.packets,
            TxBits => volume(both.tx),
        }
    }
}

/// The namespace of a child, as short as it stays telling; `-` where nothing is known of it.
pub fn netns(about: &ChildStatus) -> String {
    match (&about.netns, about.netnsid) {
        (Some(netns), _) => short_netns(netns),
        (None, Some(id)) => format!("nsid {id}"),
        (None, None) => "-".to_owned(),
    }
}
