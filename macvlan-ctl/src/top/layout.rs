//! Which columns a screen of some width shows.

use macvlan_common::counters::{DROP_REASONS, DropReason, Path};

use crate::top::{
    columns::{
        Column,
        Measure::{self, RxBits, RxPackets, TxBits, TxPackets},
        View,
    },
    text::width,
};

/// What some rows have in common that decides about columns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    /// They have more than one master.
    pub masters: bool,
    /// Some belong to a container.
    pub containers: bool,
}

/// The columns of a view, left to right, each with its width. The name is always there; of the
/// others the more telling ones, as far as they fit beside one mark and a blank after each.
pub fn layout(view: View, screen: u16, traits: Traits) -> Vec<(Column, u16)> {
    let mut room = screen.saturating_sub(1);
    let mut chosen: Vec<Column> = Vec::new();
    for group in wanted(view, traits) {
        let needed: u16 = group.iter().map(|column| column.width() + 1).sum();
        // The last one needs no blank after it.
        if chosen.is_empty() || needed <= room + 1 {
            room = room.saturating_sub(needed);
            chosen.extend(group);
        }
    }
    chosen.sort_by_key(|column| place(*column));
    let widen = |column: Column| column.width() + if column == Column::History { room } else { 0 };
    chosen.into_iter().map(|column| (column, widen(column))).collect()
}

/// Groups of columns that come together or not at all, the most telling ones first.
fn wanted(view: View, traits: Traits) -> Vec<Vec<Column>> {
    use Column::{Container, DropRate, DropTotal, History, Mac, Master, Mode, Name, Netns, Rate, Total};
    let each = |measures: [Measure; 2]| {
        let paths = [Path::Wire, Path::Host, Path::Sibling].into_iter();
        paths.flat_map(|path| measures.map(|measure| Rate(Some(path), measure))).collect()
    };
    let mut groups = vec![vec![Name]];
    match view {
        View::All => groups.extend([
            vec![Rate(None, RxBits), Rate(None, TxBits)],
            vec![DropRate(None)],
            vec![Rate(None, RxPackets), Rate(None, TxPackets)],
        ]),
        View::Path(path) => {
            let path = Some(path);
            groups.extend([
                vec![Rate(path, RxBits), Rate(path, TxBits)],
                vec![Rate(path, RxPackets), Rate(path, TxPackets)],
            ]);
        }
        View::Drops => groups.push(vec![DropRate(None), DropTotal(None)]),
    }
    if traits.masters {
        groups.push(vec![Master]);
    }
    match view {
        View::All => groups.extend([each([RxBits, TxBits]), vec![History], vec![DropTotal(None)]]),
        View::Path(path) => {
            let measures = [RxPackets, RxBits, TxPackets, TxBits];
            groups.push(measures.map(|measure| Total(Some(path), measure)).to_vec());
        }
        View::Drops => {
            groups.extend(DROP_REASONS.map(|reason| vec![DropRate(Some(reason)), DropTotal(Some(reason))]));
        }
    }
    groups.push(vec![Netns]);
    if traits.containers {
        groups.push(vec![Container]);
    }
    groups.push(vec![Mac]);
    if view == View::All {
        groups.push(each([RxPackets, TxPackets]));
    }
    groups.push(vec![Mode]);
    groups
}

/// Where a column stands among all.
fn place(column: Column) -> (usize, usize) {
    let measure = |measure: Measure| measure as usize;
    let path = |path: Option<Path>| path.map_or(0, |path| 1 + path as usize);
    let reason = |reason: Option<DropReason>| reason.map_or(0, |reason| 1 + reason as usize);
    match column {
        Column::Name => (0, 0),
        Column::Master => (0, 1),
        Column::Netns => (0, 2),
        Column::Container => (0, 3),
        Column::Mac => (0, 4),
        Column::Mode => (0, 5),
        Column::Rate(on, what) => (1 + path(on), measure(what)),
        Column::Total(on, what) => (5 + path(on), measure(what)),
        Column::DropRate(why) => (10 + reason(why), 0),
        Column::DropTotal(why) => (10 + reason(why), 1),
        Column::History => (20, 0),
    }
}

/// The runs of columns that belong together: what they belong to, and how wide they are.
pub fn groups(columns: &[(Column, u16)]) -> Vec<(&'static str, usize)> {
    let mut groups: Vec<(&'static str, usize)> = Vec::new();
    for (column, columns) in columns {
        let wide = usize::from(*columns) + 1;
        match groups.last_mut() {
            Some((name, total)) if *name == column.group() => *total += wide,
            _ => groups.push((column.group(), wide)),
        }
    }
    debug_assert!(groups.iter().all(|(name, columns)| width(name) <= *columns));
    groups
}
